//! What fuzzing found worth keeping: every file in `fuzz/corpus` of this crate's targets, and of the parsers' every beginning of it.

use std::path::Path;

use crate::testing::{body, call_ops, rtp, sdp};

/// Takes any bytes.
type Body = fn(&[u8]);

#[test]
fn every_corpus_file_keeps_the_promises() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let targets: [(&str, Body, bool); 4] =
        [("sdp", sdp, true), ("body", body, true), ("rtp", rtp, true), ("call_ops", call_ops, false)];
    for (target, run, beginnings) in targets {
        let files: Vec<_> =
            std::fs::read_dir(corpora.join(target)).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "{target} has no corpus");
        for file in files {
            let data = std::fs::read(&file).unwrap();
            run(&data);
            if beginnings {
                (0..data.len()).for_each(|length| run(&data[..length]));
            }
        }
    }
}
