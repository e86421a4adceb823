//! Replays what the fuzz targets started from and what they found.

use std::fs;
use std::path::Path;

use crate::entry;

#[test]
fn every_corpus_file_keeps_the_promises() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (target, body) in entry::TARGETS {
        let files: Vec<_> =
            fs::read_dir(corpora.join(target)).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "{target} has no corpus");
        for file in files {
            let data = fs::read(&file).unwrap();
            // Named before it runs, so that a failure tells its file.
            println!("{}", file.display());
            body(&data);
            // Every shorter input too: what is cut off in the middle is what attackers and bad networks send.
            (0..data.len()).for_each(|length| body(&data[..length]));
        }
    }
}
