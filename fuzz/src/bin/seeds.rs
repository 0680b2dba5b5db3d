//! Writes the seeds of each decoder where cargo-fuzz looks for its corpus.

use std::fs;
use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for decoder in openraft_fuzz::decoders() {
        let directory = corpus.join(decoder.name);
        fs::create_dir_all(&directory)?;
        for (number, seed) in (decoder.seeds)().into_iter().enumerate() {
            fs::write(directory.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
