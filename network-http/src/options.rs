//! Every time and size of the network that can be set, with its default.

use std::time::Duration;

const MIB: u32 = 1024 * 1024;

/// What the client side waits for and how much it sends.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// How long one address may take to accept a connection. Default 1 s.
    pub connect_timeout: Duration,
    /// How long a connected peer may take to answer the handshake. Default 2 s.
    pub handshake_timeout: Duration,
    /// How long a request to form or to join a cluster may take, connecting included. Default 3 s.
    pub form_timeout: Duration,
    /// The first pause after a failed attempt; it doubles with each further failure. Default 50 ms.
    pub backoff_min: Duration,
    /// The longest pause between attempts to reach a peer that is down, and so about the longest that a peer which
    /// came back goes unnoticed. Default 500 ms.
    pub backoff_max: Duration,
    /// The shortest pause after a peer refused us for a reason that will not pass by itself; the longest is twice
    /// that. Default 1 s.
    pub refused_backoff: Duration,
    /// How often an open connection is asked for a sign of life. Default 1 s.
    pub keep_alive_interval: Duration,
    /// How long that sign may take before the connection counts as dead. Default 3 s.
    pub keep_alive_timeout: Duration,
    /// How much a peer may send on one stream before we have read it, in bytes. Default 4 MiB.
    pub stream_window: u32,
    /// The same for a connection, in bytes. Default 8 MiB.
    pub connection_window: u32,
    /// The largest append message sent, in bytes. Must be no greater than the receiver's
    /// [`ServerLimits::max_append_bytes`], and greater than the largest entry. Default 128 MiB.
    pub max_append_bytes: u32,
    /// How much of a snapshot goes into one frame, in bytes; at most 1 MiB, which is the default.
    pub snapshot_chunk_bytes: u32,
    /// How many votes and heartbeats may wait to be sent to one peer before more are refused. Default 1,024.
    pub control_queue: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(2),
            form_timeout: Duration::from_secs(3),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_millis(500),
            refused_backoff: Duration::from_secs(1),
            keep_alive_interval: Duration::from_secs(1),
            keep_alive_timeout: Duration::from_secs(3),
            stream_window: 4 * MIB,
            connection_window: 8 * MIB,
            max_append_bytes: 128 * MIB,
            snapshot_chunk_bytes: MIB,
            control_queue: 1024,
        }
    }
}

/// What the server accepts.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// How many connections may be open at once, of peers and clients together; a further one is closed at once.
    /// Default 800, which fits the usual limit of 1,024 open files.
    pub max_connections: usize,
    /// How long a client may take to send a request's head, and how long a connection may stay idle in HTTP/1.1.
    /// Default 30 s.
    pub header_timeout: Duration,
    /// How long client requests may go on after a stop was asked for. Default 5 s.
    pub drain_timeout: Duration,
    /// How long a peer may take to send the handshake. Default 5 s.
    pub handshake_timeout: Duration,
    /// How long a snapshot may make no progress before it is given up. Default 60 s.
    pub snapshot_idle_timeout: Duration,
    /// The largest append message accepted, in bytes. Default 128 MiB.
    pub max_append_bytes: u32,
    /// How many appends of one stream may await their answer before reading pauses. Default 1,024.
    pub max_appends_in_flight: usize,
    /// How many votes and heartbeats of one peer may await their answer before reading pauses. Default 1,024.
    pub max_control_in_flight: usize,
    /// How often an open HTTP/2 connection is asked for a sign of life. Default 5 s.
    pub keep_alive_interval: Duration,
    /// How long that sign may take before the connection is closed. Default 10 s.
    pub keep_alive_timeout: Duration,
    /// How much may arrive on one stream before it is read, in bytes. Default 4 MiB.
    pub stream_window: u32,
    /// The same for a connection, in bytes. Default 8 MiB.
    pub connection_window: u32,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_connections: 800,
            header_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            snapshot_idle_timeout: Duration::from_secs(60),
            max_append_bytes: 128 * MIB,
            max_appends_in_flight: 1024,
            max_control_in_flight: 1024,
            keep_alive_interval: Duration::from_secs(5),
            keep_alive_timeout: Duration::from_secs(10),
            stream_window: 4 * MIB,
            connection_window: 8 * MIB,
        }
    }
}

/// The largest HTTP/2 frame we accept, in bytes: large enough that a bulk message is few of them.
pub(crate) const HTTP2_FRAME_BYTES: u32 = 256 * 1024;
/// The largest frame of ours that is not entries or snapshot content, in bytes.
pub(crate) const MAX_SMALL_FRAME_BYTES: u32 = 64 * 1024;
/// The largest frame of a snapshot stream, in bytes: a chunk, or a description with a large membership.
pub(crate) const MAX_SNAPSHOT_FRAME_BYTES: u32 = 4 * MIB;
/// The largest chunk of a snapshot, in bytes.
pub(crate) const MAX_SNAPSHOT_CHUNK_BYTES: u32 = MIB;
