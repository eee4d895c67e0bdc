//! Jars that are damaged or lie are errors or read as what is in them; they never panic and never cost memory.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::Write;
use std::time::Duration;

use stoker_charm::{jars, link};
use zip::write::SimpleFileOptions;

/// A jar as builds have them: a manifest, properties, a class.
fn jar() -> Vec<u8> {
    let mut out = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in [
        (
            "META-INF/MANIFEST.MF",
            &b"Manifest-Version: 1.0\r\nImplementation-Version: 3.5.1\r\n continued\r\n"[..],
        ),
        ("common-version-info.properties", b"version=3.3.4\nbranch = a\\\n b\n"),
        ("a/B.class", b"\xca\xfe\xba\xbe\0\0\0\x3d and more"),
    ] {
        out.start_file(name, SimpleFileOptions::default()).unwrap();
        out.write_all(content).unwrap();
    }
    out.finish().unwrap().into_inner()
}

#[test]
fn odd_jars_do_no_harm() {
    let said = std::env::var("STOKER_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let (whole, folder) = (jar(), tempfile::tempdir().unwrap());
    let path = folder.path().join("odd.jar");
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(jars::class_major(&path, "a/B.class").unwrap(), Some(61));
    bolero::check!().with_test_time(Duration::from_secs(said.unwrap_or(2))).with_max_len(64).for_each(
        |input: &[u8]| {
            let mut bytes = whole.clone();
            // Each four bytes are a place and what is put there; the first two of all, where it is cut.
            for change in input.get(2..).unwrap_or_default().chunks_exact(4) {
                let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
                bytes[at] = change[2];
                let next = (at + 1) % bytes.len();
                bytes[next] = if change[3] < 128 { bytes[next] } else { change[3] };
            }
            if let [first, second, ..] = input
                && first % 4 == 0
            {
                bytes.truncate(bytes.len() * usize::from(*second) / 255);
            }
            std::fs::write(&path, &bytes).unwrap();
            for name in jars::entries(&path).unwrap_or_default() {
                let _ = jars::read_entry(&path, &name).map(|content| content.map(|it| it.len()));
                let _ = jars::class_major(&path, &name);
            }
            let _ = jars::manifest(&path);
            let one = std::slice::from_ref(&path);
            let _ = link::check(one, one, one).map(|report| report.gaps.len());
            let _ = jars::properties(&String::from_utf8_lossy(input));
        },
    );
}
