//! The command line.

use clap::Parser;

/// A replicated key-value store: one node of it.
#[derive(Debug, Parser)]
pub(crate) struct Flags {
    /// This node: its position in the list, from 1.
    #[arg(long, default_value_t = 1)]
    pub(crate) id: u64,
    /// The peers' URLs, separated by commas: http://HOST:PORT, the same list on every node.
    #[arg(long, default_value = "http://127.0.0.1:9021", value_delimiter = ',', value_parser = parse_url)]
    pub(crate) cluster: Vec<String>,
    /// The port for clients, on the host of the node's own URL.
    #[arg(long, default_value_t = 9121)]
    pub(crate) port: u16,
    /// Join the cluster that the others in the list are members of, after POST /ID to one of them.
    #[arg(long)]
    pub(crate) join: bool,
    /// Take a snapshot every so many entries, and keep as many behind it.
    #[arg(long, default_value_t = 10_000, hide = true)]
    pub(crate) snapshot_entries: u64,
}

impl Flags {
    /// The nodes of the list with their ids.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (u64, String)> {
        (1..).zip(self.cluster.iter().cloned())
    }

    /// The `host:port` of this node in the list.
    ///
    /// # Errors
    /// If the list does not hold it.
    pub(crate) fn own_address(&self) -> Result<String, String> {
        let own = self.peers().find(|(id, _)| *id == self.id);
        own.map(|(_, address)| address).ok_or_else(|| {
            let count = self.cluster.len();
            format!("--id {} is no position in --cluster, which has {count} URLs and counts from 1", self.id)
        })
    }
}

/// `host:port` of a peer's URL.
///
/// # Errors
/// What a URL should look like.
pub(crate) fn parse_url(url: &str) -> Result<String, String> {
    let address = url.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let valid = address.filter(|address| {
        address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && !host.contains(['/', '@', '?', '#', ' '])
                && port.parse().is_ok_and(|port: u16| port > 0)
        })
    });
    valid.map(str::to_owned).ok_or_else(|| format!("{url:?} is no URL of a peer: write http://HOST:PORT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_url_is_http_with_host_and_port() {
        assert_eq!(parse_url("http://127.0.0.1:2379").as_deref(), Ok("127.0.0.1:2379"));
        assert_eq!(parse_url("http://[::1]:2379/").as_deref(), Ok("[::1]:2379"));
        for bad in
            ["", "127.0.0.1:2379", "https://host:1", "http://host", "http://:1", "http://h:0", "http://a/b:1"]
        {
            assert!(parse_url(bad).is_err_and(|words| words.contains("http://HOST:PORT")), "{bad}");
        }
    }

    #[test]
    fn an_id_beyond_the_list_is_refused() {
        let flags =
            |id: &str| Flags::parse_from(["raftexample", "--id", id, "--cluster", "http://a:1,http://b:2"]);
        assert_eq!(flags("2").own_address().as_deref(), Ok("b:2"));
        assert!(flags("0").own_address().is_err());
        assert!(flags("3").own_address().is_err());
    }
}
