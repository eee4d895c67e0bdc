//! Zip archives out of choices: each member has a local header, its content and a line of the directory, which may
//! say different things.

use std::io::Write;

use super::choices::Choices;

const NAMES: &[&[u8]] = &[b"top/a", b"top/b", b"top/d/c", b"top/d/", b"top/", b"a", b"b", b"d/x"];
const ODD_NAMES: &[&[u8]] = &[
    b"./a",
    b"../a",
    b"/a",
    b"//a",
    b"a//b",
    b"a/./b",
    b"a\\b",
    b"a\0b",
    b"",
    b"top/\xe9",
    "top/\u{e9}".as_bytes(),
    b"top/\x82",
    b"a\nb",
    b"C:a",
    b"C:/a",
    b"top/A",
    b"a ",
    b" a",
    b"top",
    b"top/a/",
    b".",
    b"./",
    b"..",
    b"top/a/b",
    b"META-INF/MANIFEST.MF",
    b"__MACOSX/a",
    b"top/._a",
    b"._a",
    b"mac/._b",
    b"a:b",
    b"top/a.",
    b"*",
    b"@a",
    b"-a",
];
const MODES: &[u32] = &[0o100_644, 0o100_755, 0o644, 0o755, 0, 0o40_755, 0o120_777, 0o100_000, 0o104_755];
const ODD_MODES: &[u32] =
    &[0o20_644, 0o60_644, 0o10_644, 0o140_644, 0o160_000, 0o110_644, 0o177_777, 0o70_000];
const LINKS: &[&[u8]] = &[b"a", b"b", b"d", b"../a", b"/a", b"", b"a\0b", b"\xff", b"a/", b"a\\b", b"top/a"];

/// What one place says of a member.
#[derive(Clone)]
struct Said {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    extra: Vec<u8>,
}

fn name(c: &mut Choices<'_>) -> Vec<u8> {
    if !c.odd() && !c.once_in(6) {
        return c.of(NAMES).to_vec();
    }
    match c.below(2) {
        0 => c.of(ODD_NAMES).to_vec(),
        _ => [c.of(NAMES), c.of(ODD_NAMES)].concat(),
    }
}

fn extra(c: &mut Choices<'_>, said: &Said) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..c.of(&[0, 0, 0, 0, 1, 1, 2]) {
        let (id, data): (u16, Vec<u8>) = match c.below(12) {
            _ if !c.odd() => (0x5455, vec![1, 0, 0, 0, 0]),
            2 => (0x7875, b"\x01\x04\0\0\0\0\x04\0\0\0\0".to_vec()),
            3 => (1, [said.size.to_le_bytes(), said.packed.to_le_bytes()].concat()),
            4 => (1, (0..c.below(4)).flat_map(|_| c.number().to_le_bytes()).collect()),
            5 => {
                let crc = flate2::Crc::new();
                let mut crc = crc;
                crc.update(&said.name);
                let sum = if c.once_in(4) { 0 } else { crc.sum() };
                let other = if c.once_in(2) { name(c) } else { said.name.clone() };
                (0x7075, [&[1][..], &sum.to_le_bytes(), &other].concat())
            }
            6 => (0x9901, b"\x02\0AE\x03\x08\0".to_vec()),
            7 => (0x000a, vec![0; 32]),
            8 => (0xcafe, Vec::new()),
            9 => (0x5855, vec![0; 8]),
            // Unix's older block can hold a link's target or a device.
            10 => (0x000d, [&[0; 12][..], b"target"].concat()),
            // libarchive's own: mode and attributes beside the name.
            _ => (0x6c78, [&[7, 0, 3][..], &[0xa4, 0x81], &[0; 4]].concat()),
        };
        let len = if c.odd() { c.number() as u16 } else { data.len() as u16 };
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&data);
    }
    if c.odd() {
        out.extend((0..=c.below(4)).map(|_| 0));
    }
    out
}

/// Something else than is true, seldom.
fn lie(c: &mut Choices<'_>, said: &mut Said) {
    match if c.odd() { 70 + c.below(10) } else { 0 } {
        70 => said.name = name(c),
        71 => said.flags ^= 1 << c.below(16),
        72 => said.method = c.of(&[0, 8, 9, 12, 1, 14, 93, 99]),
        73 => said.crc = said.crc.wrapping_add(1),
        74 => said.packed = c.number(),
        75 => said.size = c.number(),
        76 => said.packed = said.packed.wrapping_add(1),
        77 => said.size = said.size.wrapping_sub(1),
        78 => said.size = 0xffff_ffff,
        79 => said.packed = 0xffff_ffff,
        _ => {}
    }
}

fn version(c: &mut Choices<'_>) -> [u8; 2] {
    [if c.odd() { c.of(&[46, 63, 0, 51]) } else { c.of(&[20, 10, 45]) }, if c.odd() { c.byte() } else { 0 }]
}

fn short(value: u64) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes()
}

fn local(c: &mut Choices<'_>, said: &Said) -> Vec<u8> {
    let mut out = b"PK\x03\x04".to_vec();
    out.extend(version(c));
    out.extend(said.flags.to_le_bytes());
    out.extend(said.method.to_le_bytes());
    out.extend([0, 0, 0x21, 0]);
    out.extend(said.crc.to_le_bytes());
    out.extend(short(said.packed));
    out.extend(short(said.size));
    out.extend((said.name.len() as u16).to_le_bytes());
    out.extend((said.extra.len() as u16).to_le_bytes());
    out.extend(&said.name);
    out.extend(&said.extra);
    out
}

fn line(c: &mut Choices<'_>, said: &Said, mode: u32, offset: u64) -> Vec<u8> {
    let mut out = b"PK\x01\x02".to_vec();
    out.extend([
        c.of(&[20, 63, 30]),
        if c.odd() { c.of(&[0, 19, 10, 14, 7, 11, 1, 255]) } else { c.of(&[3, 3, 3, 0]) },
    ]);
    out.extend(version(c));
    out.extend(said.flags.to_le_bytes());
    out.extend(said.method.to_le_bytes());
    out.extend([0, 0, 0x21, 0]);
    out.extend(said.crc.to_le_bytes());
    out.extend(short(said.packed));
    out.extend(short(said.size));
    out.extend((said.name.len() as u16).to_le_bytes());
    out.extend((said.extra.len() as u16).to_le_bytes());
    let comment: &[u8] = if c.once_in(16) { b"PK\x05\x06 a comment" } else { b"" };
    out.extend((comment.len() as u16).to_le_bytes());
    out.extend(if c.odd() { [1, 0] } else { [0, 0] });
    out.extend(if c.odd() { [1, 0] } else { [0, 0] });
    let dos: u32 = if said.name.ends_with(b"/") == c.odd() { 0 } else { 0x10 };
    out.extend((mode << 16 | dos).to_le_bytes());
    out.extend(short(offset));
    out.extend(&said.name);
    out.extend(&said.extra);
    out.extend_from_slice(comment);
    out
}

fn deflated(content: &[u8], level: u32) -> Vec<u8> {
    let mut out = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(level));
    out.write_all(content).unwrap();
    out.finish().unwrap()
}

fn member(c: &mut Choices<'_>, out: &mut Vec<u8>, directory: &mut Vec<u8>) {
    let name = name(c);
    let folder = name.ends_with(b"/");
    let mode = match c.below(24) {
        0..=19 if folder => 0o40_755,
        0..=14 => 0o100_644,
        15..=18 => 0o120_777,
        19 | 20 if c.odd() => c.of(ODD_MODES),
        _ => c.of(MODES),
    };
    let content: Vec<u8> = match c.below(8) {
        _ if folder && !c.once_in(12) => Vec::new(),
        _ if mode & 0o170_000 == 0o120_000 => c.of(LINKS).to_vec(),
        0..=4 => b"hello".to_vec(),
        5 => Vec::new(),
        6 => vec![b'x'; 3000],
        _ => b"PK\x03\x04PK\x01\x02PK\x05\x06".repeat(3),
    };
    let method = c.of(&[8, 8, 0]);
    let mut packed = if method == 8 { deflated(&content, c.of(&[6, 0, 9])) } else { content.clone() };
    let mut crc = flate2::Crc::new();
    crc.update(&content);
    if c.odd() {
        packed.push(0);
    }
    let late = c.once_in(6);
    let marked = !name.is_ascii() && !c.once_in(4);
    let mut flags = if late { 8 } else { 0 } | if marked { 1 << 11 } else { 0 };
    flags |= if method == 8 { c.of(&[0, 0, 0, 2, 4, 6]) } else { 0 };
    let (size, length) = (content.len() as u64, packed.len() as u64);
    let truth = Said { name, flags, method, crc: crc.sum(), packed: length, size, extra: Vec::new() };
    let mut here = truth.clone();
    if late && !c.once_in(3) {
        (here.crc, here.packed, here.size) = (0, 0, 0);
    }
    lie(c, &mut here);
    here.extra = extra(c, &here);
    let offset = out.len() as u64;
    let header = local(c, &here);
    out.extend(header);
    out.extend_from_slice(&packed);
    if late != c.odd() {
        let (packed, size) = (truth.packed, truth.size);
        let mut sizes = crc.sum().to_le_bytes().to_vec();
        match c.below(3) {
            0 => sizes.extend([packed.to_le_bytes(), size.to_le_bytes()].concat()),
            _ => sizes.extend([short(packed), short(size)].concat()),
        }
        if !c.once_in(3) {
            out.extend_from_slice(b"PK\x07\x08");
        }
        out.extend(sizes);
    }
    let mut there = truth;
    lie(c, &mut there);
    there.extra = if c.once_in(2) { here.extra } else { extra(c, &there) };
    if !c.odd() {
        let offset = if c.odd() { c.number() } else { offset };
        let line = line(c, &there, mode, offset);
        directory.extend(line);
    }
    if c.odd() {
        out.extend_from_slice(b"between");
    }
}

/// An archive.
pub(crate) fn make(c: &mut Choices<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    if c.odd() {
        out.extend_from_slice(b"#!/bin/sh\n");
    }
    let mut directory = Vec::new();
    let members = 1 + c.below(4);
    for _ in 0..members {
        member(c, &mut out, &mut directory);
    }
    let start = out.len() as u64;
    out.extend_from_slice(&directory);
    let count = if c.odd() { u64::from(c.byte()) } else { members as u64 };
    let begins = if c.odd() { c.number() & 0xfff } else { start };
    let wide = c.once_in(8);
    if wide {
        let at = out.len() as u64;
        out.extend_from_slice(b"PK\x06\x06");
        out.extend(44u64.to_le_bytes());
        out.extend([45, 3, 45, 0]);
        out.extend([0; 8]);
        let count = if c.odd() { c.number() & 7 } else { count };
        out.extend(count.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend((directory.len() as u64).to_le_bytes());
        out.extend(if c.odd() { c.number() & 0xfff } else { begins }.to_le_bytes());
        out.extend_from_slice(b"PK\x06\x07");
        out.extend([0; 4]);
        out.extend(at.to_le_bytes());
        out.extend(1u32.to_le_bytes());
    }
    out.extend_from_slice(b"PK\x05\x06");
    out.extend([0; 4]);
    let hidden = wide && c.once_in(2);
    let counted = if hidden { 0xffff } else { count as u16 };
    out.extend(counted.to_le_bytes());
    out.extend(counted.to_le_bytes());
    out.extend(if hidden { [0xff; 4] } else { (directory.len() as u32).to_le_bytes() });
    out.extend(if hidden { [0xff; 4] } else { short(begins) });
    let comment: &[u8] = match if c.odd() { 13 + c.below(3) } else { 0 } {
        13 => b"a comment",
        14 => b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        15 => b"PK\x06\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        _ => b"",
    };
    out.extend((comment.len() as u16).to_le_bytes());
    out.extend_from_slice(comment);
    match if c.odd() { 22 + c.below(2) } else { 0 } {
        22 => out.push(0),
        23 => out.truncate(out.len() - c.below(30)),
        _ => {}
    }
    for _ in 0..if c.odd() { 1 + c.below(2) } else { 0 } {
        let at = (c.number() as usize) % out.len();
        out[at] = c.byte();
    }
    out
}
