//! A class file as far as linking needs it: its name and parents, what it declares, and what its constant pool points to
//! (JVMS §4). Owns that reading. It must not resolve anything, and takes any bytes: what is no class file is `None`.

use std::ops::ControlFlow;

/// What a class file says of itself and of others. Names are the JVM's own, with slashes.
#[derive(Debug, Default)]
pub(super) struct Class<'a> {
    pub(super) name: &'a [u8],
    /// The superclass, then the interfaces.
    pub(super) parents: Vec<&'a [u8]>,
    /// Fields and methods that others may use: name and descriptor.
    pub(super) declared: Vec<(&'a [u8], &'a [u8])>,
    /// Those for itself and its nest alone.
    pub(super) private: Vec<(&'a [u8], &'a [u8])>,
    /// Classes, fields and methods that it uses.
    pub(super) pointers: Vec<Pointer<'a>>,
}

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

/// Reads a class file.
pub(super) fn read(bytes: &[u8]) -> Option<Class<'_>> {
    let mut at = Cursor(bytes);
    if at.u4()? != 0xCAFE_BABE {
        return None;
    }
    at.skip(4)?;
    let pool = Pool::read(&mut at)?;
    at.skip(2)?;
    let mut class = Class { name: pool.class(at.u2()?)?, ..Class::default() };
    let superclass = at.u2()?;
    if superclass != 0 {
        class.parents.push(pool.class(superclass)?);
    }
    for _ in 0..at.u2()? {
        class.parents.push(pool.class(at.u2()?)?);
    }
    for _members in ["fields", "methods"] {
        for _ in 0..at.u2()? {
            let (access, name, descriptor) = (at.u2()?, pool.text(at.u2()?)?, pool.text(at.u2()?)?);
            let members = if access & ACC_PRIVATE == 0 { &mut class.declared } else { &mut class.private };
            members.push((name, descriptor));
            for _ in 0..at.u2()? {
                at.skip(2)?;
                let length = at.u4()?;
                at.skip(length as usize)?;
            }
        }
    }
    class.pointers = pool.pointers()?;
    Some(class)
}

/// One entry of the constant pool; the second index of a long or double stays `Other`.
#[derive(Debug, Clone, Copy)]
enum Constant<'a> {
    Other,
    Text(&'a [u8]),
    Class(u16),
    Member(u16, u16),
    NameAndType(u16, u16),
}

struct Pool<'a>(Vec<Constant<'a>>);

impl<'a> Pool<'a> {
    fn read(at: &mut Cursor<'a>) -> Option<Self> {
        let count = usize::from(at.u2()?);
        let mut pool = vec![Constant::Other; count.max(1)];
        let mut index = 1;
        while index < count {
            let (constant, wide) = match at.u1()? {
                1 => {
                    let length = at.u2()?;
                    (Constant::Text(at.take(usize::from(length))?), false)
                }
                3 | 4 | 17 | 18 => (at.skip(4).map(|()| Constant::Other)?, false),
                5 | 6 => (at.skip(8).map(|()| Constant::Other)?, true),
                7 => (Constant::Class(at.u2()?), false),
                8 | 16 | 19 | 20 => (at.skip(2).map(|()| Constant::Other)?, false),
                9..=11 => (Constant::Member(at.u2()?, at.u2()?), false),
                12 => (Constant::NameAndType(at.u2()?, at.u2()?), false),
                15 => (at.skip(3).map(|()| Constant::Other)?, false),
                _ => return None,
            };
            pool[index] = constant;
            index += if wide { 2 } else { 1 };
        }
        Some(Self(pool))
    }

    fn text(&self, index: u16) -> Option<&'a [u8]> {
        match self.0.get(usize::from(index))? {
            Constant::Text(text) => Some(text),
            _ => None,
        }
    }

    fn class(&self, index: u16) -> Option<&'a [u8]> {
        match self.0.get(usize::from(index))? {
            Constant::Class(name) => self.text(*name),
            _ => None,
        }
    }

    fn pointers(&self) -> Option<Vec<Pointer<'a>>> {
        let mut pointers = Vec::new();
        for constant in &self.0 {
            let (owner, member) = match *constant {
                Constant::Class(name) => (self.text(name)?, None),
                Constant::Member(owner, member) => {
                    let Constant::NameAndType(name, descriptor) = *self.0.get(usize::from(member))? else {
                        return None;
                    };
                    (self.class(owner)?, Some((self.text(name)?, self.text(descriptor)?)))
                }
                _ => continue,
            };
            match element(owner) {
                // What an array can do, the runtime does.
                ControlFlow::Break(Some(owner)) => pointers.push(Pointer { owner, member: None }),
                ControlFlow::Break(None) => {}
                ControlFlow::Continue(owner) => pointers.push(Pointer { owner, member }),
            }
        }
        Some(pointers)
    }
}

/// Of an array type its element's class, if that is one; any other name as it is.
fn element(name: &[u8]) -> ControlFlow<Option<&[u8]>, &[u8]> {
    if name.first() != Some(&b'[') {
        return ControlFlow::Continue(name);
    }
    let inner = &name[name.iter().position(|byte| *byte != b'[').unwrap_or(name.len())..];
    ControlFlow::Break(inner.strip_prefix(b"L").and_then(|class| class.strip_suffix(b";")))
}

/// A position in bytes; nothing reads past their end.
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
