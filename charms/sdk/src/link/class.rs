//! A class file as far as linking needs it: its name and parents, what it declares, and what its constant pool points to
//! (JVMS §4). Owns that reading. It must not resolve anything, and takes any bytes: what is no class file is `None`, and
//! what points nowhere in one is passed over.

/// The outermost class that a class is written in, by its name: compilers put a `$` between.
pub(super) fn nest(name: &[u8]) -> &[u8] {
    name.split(|byte| *byte == b'$').next().unwrap_or(name)
}

/// One use of something: a class, or a member (name and descriptor) of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pointer<'a> {
    pub(super) owner: &'a [u8],
    pub(super) member: Option<(&'a [u8], &'a [u8])>,
}

const ACC_PRIVATE: u16 = 0x0002;

/// One entry of the constant pool; the second index of a long or double stays `Other`.
#[derive(Debug, Clone, Copy)]
enum Constant {
    Other,
    /// Where the text begins, and its length.
    Text(u32, u16),
    Class(u16),
    Member(u16, u16),
    NameAndType(u16, u16),
}

/// Reads class files one after the other, with one memory for all.
#[derive(Debug, Default)]
pub(super) struct Reader(Vec<Constant>);

impl Reader {
    /// The class in these bytes.
    pub(super) fn read<'a>(&'a mut self, bytes: &'a [u8]) -> Option<Class<'a>> {
        let mut at = Cursor(bytes);
        if at.u4()? != 0xCAFE_BABE {
            return None;
        }
        at.skip(4)?;
        pool(&mut at, bytes.len(), &mut self.0)?;
        at.skip(2)?;
        let this = at.u2()?;
        // The superclass, then the interfaces.
        let (superclass, count) = (at.u2()?, at.u2()?);
        let interfaces = at.take(2 * usize::from(count))?;
        let class = Class { bytes, pool: &self.0, this, superclass, interfaces, members: at };
        class.of(this).is_some().then_some(class)
    }
}

fn pool(at: &mut Cursor<'_>, whole: usize, pool: &mut Vec<Constant>) -> Option<()> {
    let count = usize::from(at.u2()?).max(1);
    pool.clear();
    pool.resize(count, Constant::Other);
    let mut index = 1;
    while index < count {
        let mut wide = 1;
        pool[index] = match at.u1()? {
            1 => {
                let length = at.u2()?;
                let begins = u32::try_from(whole - at.0.len()).ok()?;
                at.skip(usize::from(length))?;
                Constant::Text(begins, length)
            }
            3 | 4 | 17 | 18 => at.skip(4).map(|()| Constant::Other)?,
            5 | 6 => {
                wide = 2;
                at.skip(8).map(|()| Constant::Other)?
            }
            7 => Constant::Class(at.u2()?),
            8 | 16 | 19 | 20 => at.skip(2).map(|()| Constant::Other)?,
            9..=11 => Constant::Member(at.u2()?, at.u2()?),
            12 => Constant::NameAndType(at.u2()?, at.u2()?),
            15 => at.skip(3).map(|()| Constant::Other)?,
            _ => return None,
        };
        index += wide;
    }
    Some(())
}

/// What a class file says of itself and of others. Names are the JVM's own, with slashes.
#[derive(Debug)]
pub(super) struct Class<'a> {
    bytes: &'a [u8],
    pool: &'a [Constant],
    this: u16,
    superclass: u16,
    interfaces: &'a [u8],
    members: Cursor<'a>,
}

impl<'a> Class<'a> {
    pub(super) fn name(&self) -> &'a [u8] {
        self.of(self.this).unwrap_or_default()
    }

    /// The superclass, then the interfaces.
    pub(super) fn parents(&self) -> impl Iterator<Item = &'a [u8]> {
        let interfaces = self.interfaces.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]]));
        std::iter::once(self.superclass).chain(interfaces).filter_map(|index| self.of(index))
    }

    /// Fields and methods, by name and descriptor: those that others may use, and those for its nest alone.
    pub(super) fn members(&self, mut take: impl FnMut(bool, &'a [u8], &'a [u8])) {
        let mut at = self.members;
        let _ = (|| {
            for _members in ["fields", "methods"] {
                for _ in 0..at.u2()? {
                    let (access, name, descriptor) = (at.u2()?, self.text(at.u2()?)?, self.text(at.u2()?)?);
                    take(access & ACC_PRIVATE == 0, name, descriptor);
                    for _ in 0..at.u2()? {
                        at.skip(2)?;
                        let length = at.u4()?;
                        at.skip(length as usize)?;
                    }
                }
            }
            Some(())
        })();
    }

    /// Classes, fields and methods that it uses.
    pub(super) fn pointers(&self) -> impl Iterator<Item = Pointer<'a>> {
        self.pool.iter().filter_map(|constant| {
            let (owner, member) = match *constant {
                Constant::Class(name) => (self.text(name)?, None),
                Constant::Member(owner, member) => {
                    let Constant::NameAndType(name, descriptor) = *self.pool.get(usize::from(member))? else {
                        return None;
                    };
                    (self.of(owner)?, Some((self.text(name)?, self.text(descriptor)?)))
                }
                _ => return None,
            };
            if owner.first() != Some(&b'[') {
                return Some(Pointer { owner, member });
            }
            // What an array can do, the runtime does; what it holds may be a class.
            let inner = &owner[owner.iter().position(|byte| *byte != b'[').unwrap_or(owner.len())..];
            let owner = inner.strip_prefix(b"L").and_then(|class| class.strip_suffix(b";"))?;
            Some(Pointer { owner, member: None })
        })
    }

    fn text(&self, index: u16) -> Option<&'a [u8]> {
        match *self.pool.get(usize::from(index))? {
            Constant::Text(begins, length) => self.bytes.get(begins as usize..)?.get(..usize::from(length)),
            _ => None,
        }
    }

    fn of(&self, index: u16) -> Option<&'a [u8]> {
        match *self.pool.get(usize::from(index))? {
            Constant::Class(name) => self.text(name),
            _ => None,
        }
    }
}

/// A position in bytes; nothing reads past their end.
#[derive(Debug, Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    fn u1(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u2(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u4(&mut self) -> Option<u32> {
        self.take(4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}
