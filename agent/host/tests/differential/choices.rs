//! Choices out of random bytes: the same bytes make the same archive, fewer bytes a plainer one.

/// Bytes to choose by.
pub(crate) struct Choices<'a> {
    left: &'a [u8],
    /// How seldom something is odd, as the first byte says: most archives are to have few oddities, else none is
    /// taken in and nothing compared.
    rare: usize,
}

impl<'a> Choices<'a> {
    pub(crate) fn new(left: &'a [u8]) -> Self {
        let mut choices = Self { left, rare: 1 };
        choices.rare = choices.of(&[200, 100, 60, 30, 12]);
        choices
    }

    /// Whether this once is odd.
    pub(crate) fn odd(&mut self) -> bool {
        self.once_in(self.rare)
    }

    /// The next byte; 0 when there is none.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.left.split_first() else { return 0 };
        self.left = rest;
        *first
    }

    /// One of so many, the first where nothing is left to choose by.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    /// One of these.
    pub(crate) fn of<T: Copy>(&mut self, things: &[T]) -> T {
        things[self.below(things.len())]
    }

    /// Seldom true: once in so many.
    pub(crate) fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    pub(crate) fn number(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }
}
