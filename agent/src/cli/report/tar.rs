//! A tar (ustar) of a few files of text. Owns the format; names are ours, and short.

/// The archive of `files`, all of one time (seconds since 1970), readable by their owner.
pub(super) fn archive(folder: &str, files: &[(String, Vec<u8>)], time: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, body) in files {
        out.extend(header(&format!("{folder}/{name}"), body.len(), time));
        out.extend(body);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn header(name: &str, size: usize, time: u64) -> [u8; 512] {
    let mut block = [0u8; 512];
    // A name may have 100 bytes, and a folder before it 155.
    let (prefix, name) = match name.len() {
        0..=100 => ("", name),
        length => {
            let split = name[..length.min(155)].rfind('/').unwrap_or(0);
            (&name[..split], &name[(split + 1).min(length)..])
        }
    };
    let mut put = |at: usize, length: usize, text: &[u8]| {
        for (slot, byte) in block[at..at + length].iter_mut().zip(text) {
            *slot = *byte;
        }
    };
    put(0, 100, name.as_bytes());
    put(100, 8, b"0000600\0");
    put(108, 8, b"0000000\0");
    put(116, 8, b"0000000\0");
    put(124, 12, format!("{size:011o}\0").as_bytes());
    put(136, 12, format!("{time:011o}\0").as_bytes());
    put(148, 8, b"        ");
    put(156, 1, b"0");
    put(257, 8, b"ustar\x0000");
    put(345, 155, prefix.as_bytes());
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    for (slot, byte) in block[148..156].iter_mut().zip(format!("{sum:06o}\0 ").as_bytes()) {
        *slot = *byte;
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_where_tar_looks() {
        let long = format!("logs/{}.log", "x".repeat(90));
        let files = [("a.json".to_owned(), b"{}".to_vec()), (long.clone(), vec![b'y'; 513])];
        let tar = archive("report", &files, 1_000_000_000);
        assert_eq!(tar.len(), 512 + 512 + 512 + 1024 + 1024);
        assert_eq!(&tar[..14], b"report/a.json\0");
        assert_eq!(&tar[124..136], b"00000000002\0");
        assert_eq!(&tar[512..514], b"{}");
        let second = &tar[1024..1536];
        assert_eq!(&second[345..357], b"report/logs\0");
        assert_eq!(&second[..94], &long.as_bytes()[5..]);
        let sum: u32 = tar[..512]
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        assert_eq!(&tar[148..156], format!("{sum:06o}\0 ").as_bytes());
    }
}
