//! Tar archives out of choices: headers field by field, extended headers record by record.

use super::choices::Choices;

const NAMES: &[&[u8]] = &[
    b"top/a",
    b"top/b",
    b"top/d/c",
    b"top/d/",
    b"top/",
    b"top/e/f",
    b"top/g/h/i",
    b"a",
    b"b",
    b"d",
    b"d/",
    b"d/x",
];
const ODD_NAMES: &[&[u8]] = &[
    b"./a",
    b"./",
    b".",
    b"./top/a",
    b"top",
    b"top/a/",
    b"top//a",
    b"top/./a",
    b"../a",
    b"/a",
    b"//a",
    b"a\\b",
    b"a\nb",
    b"top/A",
    "top/\u{e9}".as_bytes(),
    "top/e\u{301}".as_bytes(),
    b"top/\xe9",
    b"top/\xff\xfe",
    b" a",
    b"a ",
    b"top/ ",
    b"a\0b",
    b"",
    b"-a",
    b"~",
    b"top/a%2f",
    b"C:a",
    b"C:/a",
    b"c:\\a",
    b"top/a.",
    b"top/a:b",
    b"top/..a",
    b"top/a..",
    b"././@LongLink",
    b"./././a",
    b"./../a",
    b"top/d/../a",
    b"top/a?",
    b"top/*",
    b"top/[a]",
    b"top/\"a\"",
    b"top/'a",
    "\u{feff}a".as_bytes(),
    "top/\u{202e}a".as_bytes(),
    b"top/a\xcc\x81",
    b"PaxHeader/a",
    b"top/a\t",
    b"@a",
    b"#a",
    b"top/._a",
    b"._a",
    b"top/.wh.a",
    b"__MACOSX/a",
    b"top/._b",
];
const LINKS: &[&[u8]] = &[b"a", b"top/a", b"b", b"d", b"d/c", b"top/d", b"./a", b"top/b", b"e/f"];
const ODD_LINKS: &[&[u8]] = &[
    b"",
    b"..",
    b"../a",
    b"/a",
    b"/",
    b".",
    b"./",
    b"a/",
    b"a//b",
    b"a/.",
    b"../top/a",
    b"../../a",
    b"a\0b",
    b"\xff",
    b"top/d/",
    b"./top/a",
    b"a\\b",
    "\u{e9}".as_bytes(),
    b" a",
    b"a ",
    b"missing",
    b"a\n",
];
const KINDS: &[u8] = b"000000\x00\x005512";
const ODD_KINDS: &[u8] = b"3467gxLKNSVMADEXZIas\x01 ";
const MAGICS: &[&[u8; 8]] = &[b"ustar\x0000", b"ustar\x0000", b"ustar  \0", b"\0\0\0\0\0\0\0\0"];
const ODD_MAGICS: &[&[u8; 8]] = &[
    b"ustar\x00  ",
    b"ustar\x0001",
    b"ustar 00",
    b"USTAR\x0000",
    b"ustar\0\0\0",
    b"ustar  0",
    b"tar\0\0\0\0\0",
    b"ustar   ",
];
const KEYS: &[&[u8]] = &[
    b"path",
    b"linkpath",
    b"size",
    b"mtime",
    b"atime",
    b"ctime",
    b"uid",
    b"gid",
    b"uname",
    b"gname",
    b"comment",
    b"charset",
    b"hdrcharset",
    b"SCHILY.realsize",
    b"GNU.sparse.major",
    b"GNU.sparse.minor",
    b"GNU.sparse.name",
    b"GNU.sparse.realsize",
    b"GNU.sparse.size",
    b"GNU.sparse.map",
    b"GNU.sparse.numblocks",
    b"GNU.dumpdir",
    b"GNU.volume.label",
    b"GNU.volume.size",
    b"GNU.volume.offset",
    b"GNU.volume.filename",
    b"SCHILY.xattr.user.a",
    b"LIBARCHIVE.xattr.user.a",
    b"LIBARCHIVE.creationtime",
    b"LIBARCHIVE.symlinktype",
    b"SCHILY.fflags",
    b"SCHILY.dev",
    b"SCHILY.devmajor",
    b"SCHILY.ino",
    b"SCHILY.nlink",
    b"SCHILY.acl.access",
    b"SCHILY.filetype",
    b"SUN.holesdata",
    b"RHT.security.selinux",
    b"SUN.devmajor",
    b"Path",
    b"PATH",
    b" path",
    b"path ",
    b"pat",
    b"paths",
    b"path\0",
    b"mode",
    b"devmajor",
    b"VENDOR.x",
    b"GNU.x",
    b"GNU.sparse",
    b"GNU.sparse.offset",
    b"SCHILY.",
    b"LIBARCHIVE.",
    b"LIBARCHIVE.x",
];
const VALUES: &[&[u8]] = &[
    b"",
    b"0",
    b"1",
    b"5",
    b"512",
    b"-1",
    b"1.5",
    b"1e3",
    b"x",
    b"99999999999999999999",
    b"9223372036854775807",
    b" 5",
    b"5 ",
    b"0x5",
    b"05",
    b"+5",
    b"1.",
    b".5",
    b"-1.5",
    b"nan",
    b"inf",
    b"1_0",
    "\u{665}".as_bytes(),
    b"file",
    b"dir",
    b"BINARY",
    b"ISO-IR 10646 2000 UTF-8",
    b"ISO-8859-1",
    b"0,5",
    b"\xff",
    b"1\0",
    b"1.0000000001",
    b"a=b",
    b"a\nb",
    b"67767976233532799",
    b"-62135596801",
    b"253402300800",
];

fn name(c: &mut Choices<'_>) -> Vec<u8> {
    if !c.odd() && !c.once_in(6) {
        return c.of(NAMES).to_vec();
    }
    match c.below(10) {
        0..=5 => c.of(ODD_NAMES).to_vec(),
        6 => long(c, 98),
        7 => long(c, 150),
        8 => long(c, 250),
        _ => [c.of(NAMES), c.of(ODD_NAMES)].concat(),
    }
}

/// Names about as long as fields are.
fn long(c: &mut Choices<'_>, about: usize) -> Vec<u8> {
    let mut out = b"top/".to_vec();
    let step = c.of(&[60, 90, 99, 200, 255, 256]);
    let len = about + c.below(10);
    while out.len() < len {
        out.push(if out.len().is_multiple_of(step) { b'/' } else { b'n' });
    }
    out
}

fn link(c: &mut Choices<'_>) -> Vec<u8> {
    if !c.odd() {
        return c.of(LINKS).to_vec();
    }
    match c.below(3) {
        0 => name(c),
        1 => c.of(ODD_LINKS).to_vec(),
        _ => long(c, 98),
    }
}

fn put(header: &mut [u8], at: usize, width: usize, bytes: &[u8]) {
    let n = bytes.len().min(width);
    header[at..at + n].copy_from_slice(&bytes[..n]);
}

/// A number as one of many writers would have it.
fn number(c: &mut Choices<'_>, width: usize, value: u64) -> Vec<u8> {
    let digits = width - 1;
    if !c.odd() {
        return format!("{value:0digits$o}\0").into_bytes();
    }
    match 25 + c.below(15) {
        25 => format!("{value:0width$o}").into_bytes(),
        26 => format!("{value:>digits$o}\0").into_bytes(),
        27 => format!("{value:>digits$o} ").into_bytes(),
        28 => format!("{value:o}").into_bytes(),
        29 => format!("{value:o} \0").into_bytes(),
        30 => format!("{value:o}\0 7").into_bytes(),
        31 => format!("{value:0$o}8\0", digits - 1).into_bytes(),
        32 => Vec::new(),
        33 => vec![b' '; width],
        34 => {
            let mut wide = vec![0; width];
            wide[0] = c.of(&[0x80, 0x80, 0x81, 0xc0, 0xff]);
            let bytes = value.to_be_bytes();
            let n = bytes.len().min(width - 1);
            wide[width - n..].copy_from_slice(&bytes[8 - n..]);
            wide
        }
        35 => vec![0xff; width],
        36 => format!("-{value:o}\0").into_bytes(),
        37 => format!("+{value:o}\0").into_bytes(),
        38 => format!("0x{value:x}\0").into_bytes(),
        _ => (0..width).map(|_| c.byte()).collect(),
    }
}

/// Makes a header's checksum what one of many writers would have.
fn seal(c: &mut Choices<'_>, header: &mut [u8]) {
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    let signed: i64 = header.iter().map(|b| i64::from(*b as i8)).sum();
    let kind = if c.odd() { 17 + c.below(7) } else { 0 };
    let text = match kind {
        0 => format!("{sum:06o}\0 "),
        17 => format!("{sum:07o}\0"),
        18 => format!("{sum:06o} \0"),
        19 => format!("{sum:>6o}\0 "),
        20 => format!("{sum:08o}"),
        21 => format!("{:06o}\0 ", signed as u32 & 0o777_777),
        22 => format!("{sum:o}"),
        _ => format!("{:06o}\0 ", sum + 1),
    };
    header[148..156].fill(0);
    put(header, 148, 8, text.as_bytes());
}

fn header(c: &mut Choices<'_>, name: &[u8], kind: u8, size: u64, link: &[u8]) -> Vec<u8> {
    let mut header = vec![0u8; 512];
    put(&mut header, 0, 100, name);
    let mode = c.of(&[0o644, 0o755, 0o644, 0, 0o4755, 0o100_644, 0o777, 0o111, 0o40_755]);
    put(&mut header, 100, 8, &number(c, 8, mode));
    for at in [108, 116] {
        let owner = c.of(&[0, 1000, 0o7_777_777]);
        put(&mut header, at, 8, &number(c, 8, owner));
    }
    put(&mut header, 124, 12, &number(c, 12, size));
    let time = c.of(&[0, 1_600_000_000, 0o77_777_777_777, 1]);
    put(&mut header, 136, 12, &number(c, 12, time));
    header[156] = kind;
    put(&mut header, 157, 100, link);
    let magic = if c.odd() { c.of(ODD_MAGICS) } else { c.of(MAGICS) };
    header[257..265].copy_from_slice(magic);
    if c.once_in(4) {
        put(&mut header, 265, 32, c.of(&[b"root", &b"\xff"[..], &[b'u'; 32]]));
    }
    if c.once_in(4) {
        for at in [329, 337] {
            put(&mut header, at, 8, &number(c, 8, 0));
        }
    }
    let above = if c.odd() { 9 + c.below(3) } else { c.of(&[0, 0, 0, 8]) };
    match above {
        8 if magic == b"ustar\x0000" => put(&mut header, 345, 155, b"top"),
        0 | 8 => {}
        9 => put(&mut header, 345, 155, c.of(ODD_NAMES)),
        10 => put(&mut header, 345, 155, &long(c, 150)),
        // GNU's times, offset and sparse map are where others have the prefix; star has its own there.
        _ => match c.below(5) {
            0 => put(&mut header, 345, 12, &number(c, 12, 1)),
            1 => put(&mut header, 369, 12, &number(c, 12, 5)),
            2 => put(&mut header, 386, 24, b"00000000000\x0000000000005\x00"),
            3 => header[482] = 1,
            _ => put(&mut header, 508, 4, b"tar\0"),
        },
    }
    if c.odd() {
        let at = c.below(256) * 2;
        header[at] = c.byte();
    }
    seal(c, &mut header);
    header
}

fn record(c: &mut Choices<'_>) -> Vec<u8> {
    let key = match c.below(4) {
        0..=2 if !c.odd() => c.of(&[&b"path"[..], b"linkpath", b"size", b"mtime", b"uid"]),
        _ => c.of(KEYS),
    };
    let value = match key {
        b"path" | b"GNU.sparse.name" if !c.odd() => name(c),
        b"linkpath" if !c.odd() => link(c),
        b"mtime" | b"uid" | b"size" if !c.odd() => b"5".to_vec(),
        _ => c.of(VALUES).to_vec(),
    };
    let rest = [b" ", key, b"=", &value, b"\n"].concat();
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length += 1;
    }
    let kind = if c.odd() { 26 + c.below(6) } else { 0 };
    match kind {
        0 => [length.to_string().as_bytes(), &rest].concat(),
        26 => [(length + 1).to_string().as_bytes(), &rest].concat(),
        27 => [(length - 1).to_string().as_bytes(), &rest].concat(),
        28 => [b"0", length.to_string().as_bytes(), &rest].concat(),
        29 => [b" ", length.to_string().as_bytes(), &rest].concat(),
        30 => [length.to_string().as_bytes(), &rest[..rest.len() - 1], b"\0"].concat(),
        _ => [length.to_string().as_bytes(), b" ", &rest].concat(),
    }
}

fn content(c: &mut Choices<'_>) -> Vec<u8> {
    match c.below(12) {
        0..=4 => b"hello".to_vec(),
        5 | 6 => Vec::new(),
        7 => vec![b'x'; 511],
        8 => vec![b'x'; 512],
        9 => vec![b'x'; 513],
        10 => vec![0; 1024],
        // What looks like a member, for who has lost count.
        _ => {
            let mut inner = header(c, b"inner", b'0', 0, b"");
            inner.extend_from_slice(&[0; 512]);
            inner
        }
    }
}

fn extended(c: &mut Choices<'_>, out: &mut Vec<u8>) {
    let (kind, data) = match c.below(16) {
        0..=7 => (b'x', (0..=c.below(3)).flat_map(|_| record(c)).collect::<Vec<u8>>()),
        8 => (b'g', (0..=c.below(2)).flat_map(|_| record(c)).collect()),
        9 => (b'X', record(c)),
        10 | 11 => (b'L', [&name(c)[..], c.of(&[&b"\0"[..], b"", b"\0\0", b"\0x"])].concat()),
        12 | 13 => (b'K', [&link(c)[..], c.of(&[&b"\0"[..], b"", b"\0\0"])].concat()),
        14 => (b'x', Vec::new()),
        _ => (c.of(b"xgLK"), content(c)),
    };
    let name = c.of(&[&b"././@LongLink"[..], b"PaxHeaders/a", b"top/a", b"pax_global_header", b"../x", b""]);
    let size = match if c.odd() { c.below(2) } else { 2 } {
        2 => data.len() as u64,
        0 => data.len() as u64 + 1,
        _ => (data.len() as u64).saturating_sub(1),
    };
    out.extend(header(c, name, kind, size, b""));
    out.extend_from_slice(&data);
    pad(c, out);
}

fn pad(c: &mut Choices<'_>, out: &mut Vec<u8>) {
    let full = out.len().div_ceil(512) * 512;
    let fill = if c.odd() { c.byte() } else { 0 };
    if !c.odd() {
        out.resize(full, fill);
    }
}

fn member(c: &mut Choices<'_>, out: &mut Vec<u8>) {
    let extensions = c.of(&[0, 0, 0, 0, 1, 1, 1, 2, 3]);
    for _ in 0..extensions {
        extended(c, out);
    }
    let kind = if c.odd() { c.of(ODD_KINDS) } else { c.of(KINDS) };
    let (name, target) = (name(c), if matches!(kind, b'1' | b'2') || c.odd() { link(c) } else { Vec::new() });
    let content = if matches!(kind, b'0' | 0 | b'7') || c.odd() { content(c) } else { Vec::new() };
    let size = match if c.odd() { c.below(3) } else { 3 } {
        3 => content.len() as u64,
        0 => content.len() as u64 + 512,
        1 => (content.len() as u64).saturating_sub(512),
        _ => c.number(),
    };
    out.extend(header(c, &name, kind, size, &target));
    out.extend_from_slice(&content);
    pad(c, out);
}

/// An archive.
pub(crate) fn make(c: &mut Choices<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..=c.below(5) {
        member(c, &mut out);
        if c.odd() {
            out.resize(out.len() + c.of(&[512, 1024, 100]), 0);
        }
    }
    let end = if c.odd() { 11 + c.below(5) } else { c.of(&[0, 0, 10]) };
    match end {
        0 => out.resize(out.len() + 1024, 0),
        10 => out.resize(out.len().div_ceil(10_240) * 10_240, 0),
        11 => out.resize(out.len() + 512, 0),
        12 => {}
        13 => out.extend_from_slice(&[&[0; 1024][..], b"trailing"].concat()),
        14 => out.resize(out.len() + 20 * 512, 0),
        _ => out.truncate(out.len() - c.below(512).min(out.len())),
    }
    for _ in 0..if c.odd() { 1 + c.below(2) } else { 0 } {
        let at = (c.number() as usize) % out.len();
        out[at] = c.byte();
        if c.once_in(2) {
            let start = at / 512 * 512;
            if let Some(block) = out.get_mut(start..start + 512) {
                seal(c, block);
            }
        }
    }
    out
}
