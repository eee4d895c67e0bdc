//! Layout versions of a Hadoop build, read from the enums that declare them. Owns just enough of the class file
//! format for that; must not guess: a class that cannot be read yields nothing.
//!
//! `NameNodeLayoutVersion$Feature` and `DataNodeLayoutVersion$Feature` name each feature with the (negative) layout
//! version that brought it; layouts count downwards, so the lowest number in the initialiser is the build's own.

/// The lowest negative number that a class's static initialiser pushes.
pub(crate) fn lowest(class: &[u8]) -> Option<i64> {
    let mut at = Cursor { bytes: class, at: 0 };
    if at.u4()? != 0xCAFE_BABE {
        return None;
    }
    at.skip(4)?;
    let constants = constants(&mut at)?;
    at.skip(6)?;
    let interfaces = usize::from(at.u2()?);
    at.skip(interfaces * 2)?;
    for _ in 0..at.u2()? {
        at.skip(6)?;
        attribute(&mut at, |_| false)?;
    }
    for _ in 0..at.u2()? {
        at.skip(2)?;
        let named = |index: usize, name: &[u8]| matches!(constants.get(index), Some(Constant::Text(text)) if *text == name);
        let initialiser = named(usize::from(at.u2()?), b"<clinit>");
        at.skip(2)?;
        let body = attribute(&mut at, |index| initialiser && named(index, b"Code"))?;
        if !body.is_empty() {
            return lowest_pushed(body, &constants);
        }
    }
    None
}

/// What the numbers may be taken from.
enum Constant<'a> {
    Text(&'a [u8]),
    Number(i32),
    Other,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(taken)
    }

    fn skip(&mut self, n: usize) -> Option<()> {
        self.take(n).map(|_| ())
    }

    fn u1(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn u2(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn u4(&mut self) -> Option<u32> {
        self.take(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }
}

fn constants<'a>(at: &mut Cursor<'a>) -> Option<Vec<Constant<'a>>> {
    let count = usize::from(at.u2()?);
    let mut out = vec![Constant::Other];
    while out.len() < count {
        let constant = match at.u1()? {
            1 => {
                let length = usize::from(at.u2()?);
                Constant::Text(at.take(length)?)
            }
            3 => Constant::Number(at.u4()?.cast_signed()),
            // Long and double take two places.
            5 | 6 => {
                at.skip(8)?;
                out.push(Constant::Other);
                Constant::Other
            }
            7 | 8 | 16 | 19 | 20 => at.skip(2).map(|()| Constant::Other)?,
            15 => at.skip(3).map(|()| Constant::Other)?,
            4 | 9..=12 | 17 | 18 => at.skip(4).map(|()| Constant::Other)?,
            _ => return None,
        };
        out.push(constant);
    }
    Some(out)
}

/// Reads a list of attributes; the body of the one whose name index is wanted, else nothing.
fn attribute<'a>(at: &mut Cursor<'a>, wanted: impl Fn(usize) -> bool) -> Option<&'a [u8]> {
    let mut found: &[u8] = &[];
    for _ in 0..at.u2()? {
        let name = usize::from(at.u2()?);
        let length = at.u4()? as usize;
        let body = at.take(length)?;
        if wanted(name) {
            found = body;
        }
    }
    Some(found)
}

fn lowest_pushed(body: &[u8], constants: &[Constant<'_>]) -> Option<i64> {
    let mut head = Cursor { bytes: body, at: 0 };
    head.skip(4)?;
    let length = head.u4()? as usize;
    let mut code = Cursor { bytes: head.take(length)?, at: 0 };
    let mut lowest: Option<i64> = None;
    while code.at < code.bytes.len() {
        let pushed = match code.u1()? {
            0x10 => Some(i64::from(code.u1()?.cast_signed())),
            0x11 => Some(i64::from(code.u2()?.cast_signed())),
            0x12 => number(constants, usize::from(code.u1()?)),
            0x13 => number(constants, usize::from(code.u2()?)),
            opcode => {
                code.skip(operands(opcode)?)?;
                None
            }
        };
        if let Some(n) = pushed.filter(|n| *n < 0) {
            lowest = Some(lowest.map_or(n, |so_far| so_far.min(n)));
        }
    }
    lowest
}

fn number(constants: &[Constant<'_>], at: usize) -> Option<i64> {
    match constants.get(at) {
        Some(Constant::Number(n)) => Some(i64::from(*n)),
        _ => None,
    }
}

/// Bytes after an opcode; none for those of variable length, which no enum's initialiser has.
fn operands(opcode: u8) -> Option<usize> {
    Some(match opcode {
        0x15..=0x19 | 0x36..=0x3a | 0xa9 | 0xbc => 1,
        0x14 | 0x84 | 0x99..=0xa8 | 0xb2..=0xb8 | 0xbb | 0xbd | 0xc0 | 0xc1 | 0xc6 | 0xc7 => 2,
        0xc5 => 3,
        0xb9 | 0xba | 0xc8 | 0xc9 => 4,
        0xaa | 0xab | 0xc4 | 0xca..=0xff => return None,
        _ => 0,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A class file with nothing but an initialiser of these instructions, and one integer constant (index 3).
    pub(crate) fn class(code: &[u8], constant: i32) -> Vec<u8> {
        let mut out = vec![0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 52];
        let text = |out: &mut Vec<u8>, text: &str| {
            out.push(1);
            out.extend((text.len() as u16).to_be_bytes());
            out.extend(text.as_bytes());
        };
        out.extend(6u16.to_be_bytes());
        text(&mut out, "<clinit>");
        text(&mut out, "Code");
        out.push(3);
        out.extend(constant.to_be_bytes());
        out.push(5);
        out.extend([0; 8]);
        out.extend([0; 6]);
        out.extend([0, 0, 0, 0, 0, 1]);
        out.extend([0, 8, 0, 1, 0, 2, 0, 1, 0, 2]);
        let body_length = 8 + code.len() as u32 + 4;
        out.extend(body_length.to_be_bytes());
        out.extend([0, 1, 0, 0]);
        out.extend((code.len() as u32).to_be_bytes());
        out.extend(code);
        out.extend([0; 4]);
        out.extend([0, 0]);
        out
    }

    #[test]
    fn finds_the_lowest_pushed() {
        // aload_0, getstatic 0x0010 (whose operand looks like a push), bipush -55, bipush 7, sipush -300, return
        let code = [0x2a, 0xb2, 0x00, 0x10, 0x10, 0xc9, 0x10, 7, 0x11, 0xfe, 0xd4, 0xb1];
        assert_eq!(lowest(&class(&code, -1)), Some(-300));
        assert_eq!(lowest(&class(&[0x12, 3, 0xb1], -70_000)), Some(-70_000));
        assert_eq!(lowest(&class(&[0x10, 7, 0xb1], -1)), None);
        assert_eq!(lowest(&class(&[0xaa, 0x10, 0xc9], -1)), None);
    }

    #[test]
    fn broken_classes_yield_nothing() {
        let whole = class(&[0x10, 0xc9, 0xb1], -1);
        for cut in 0..whole.len() - 2 {
            assert!(matches!(lowest(&whole[..cut]), None | Some(-55)));
        }
        assert_eq!(lowest(b"PK\x03\x04"), None);
    }
}
