//! Between an application's blocking streams and the store's chunks: bytes that cross threads, a few chunks at a time.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::mpsc;

/// About how much is handed over at a time.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// How many chunks may wait.
const WAITING_CHUNKS: usize = 4;

/// What was written, in chunks; the other end may have failed.
pub(crate) type Chunks = mpsc::Receiver<Bytes>;

/// The writing end, for a blocking thread, and where its chunks come out.
pub(crate) fn writer() -> (ChunkWriter, Chunks) {
    let (chunks, out) = mpsc::channel(WAITING_CHUNKS);
    (ChunkWriter { held: BytesMut::new(), chunks }, out)
}

/// Gathers what is written into chunks.
pub(crate) struct ChunkWriter {
    held: BytesMut,
    chunks: mpsc::Sender<Bytes>,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let chunk = self.held.split().freeze();
        self.chunks.blocking_send(chunk).map_err(|_| io::Error::other("nobody takes the snapshot any more"))
    }
}

/// The reading end, for a blocking thread, and where its chunks go in. A chunk that is an error fails the reader.
pub(crate) fn reader() -> (mpsc::Sender<io::Result<Bytes>>, ChunkReader) {
    let (chunks, input) = mpsc::channel(WAITING_CHUNKS);
    (chunks, ChunkReader { held: Bytes::new(), chunks: input })
}

/// Gives out chunks as a stream of bytes.
pub(crate) struct ChunkReader {
    held: Bytes,
    chunks: mpsc::Receiver<io::Result<Bytes>>,
}

impl Read for ChunkReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.held.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.held = chunk?,
                None => return Ok(0),
            }
        }
        let count = self.held.len().min(out.len());
        self.held.copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}
