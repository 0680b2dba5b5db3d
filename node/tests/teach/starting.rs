//! What the builder refuses before a node runs.

use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::nodes::{Builder, Words, addresses, node, refusal};
use crate::table::explained;

fn any() -> (tempfile::TempDir, Builder<Words>) {
    let dir = tempfile::tempdir().unwrap();
    let builder = node(dir.path(), 1);
    (dir, builder)
}

#[tokio::test]
async fn neither_a_list_nor_a_member_to_join_is_an_error_that_names_both() {
    let (_dir, builder) = any();
    refusal(builder, "give either cluster(), to form a new one, or join()").await;
}

#[tokio::test]
async fn one_id_twice_in_a_list_is_refused() {
    let (_dir, builder) = any();
    let list = [(1, "127.0.0.1:1"), (2, "127.0.0.1:2"), (2, "127.0.0.1:3")];
    refusal(builder.cluster(list), "node … is in the list given to cluster() twice").await;
}

#[tokio::test]
async fn one_address_twice_in_a_list_is_refused() {
    let (_dir, builder) = any();
    let list = [(1, "127.0.0.1:1"), (2, "127.0.0.1:1")];
    refusal(builder.cluster(list), "nodes … and … have one address").await;
}

#[tokio::test]
async fn a_list_without_the_node_itself_is_refused() {
    let (_dir, builder) = any();
    refusal(builder.cluster([(2, "127.0.0.1:1")]), "node … is not in the list given to cluster()").await;
}

#[tokio::test]
async fn addresses_in_another_form_are_refused() {
    for address in
        ["http://127.0.0.1:7000", "127.0.0.1", ":7000", "127.0.0.1:70000", "::1:7000", "host:7000/raft"]
    {
        let (_dir, builder) = any();
        let words = refusal(builder.cluster([(1, address)]), "which is not of the form host:port").await;
        assert!(words.contains(address), "{words}");
        let (_dir, builder) = any();
        refusal(builder.listen("127.0.0.1:0").join([address]), "which is not of the form host:port").await;
        let (_dir, builder) = any();
        refusal(builder.listen(address).cluster([(1, "127.0.0.1:1")]), "which is not of the form host:port")
            .await;
    }
}

#[tokio::test]
async fn an_address_that_means_every_interface_is_none_to_be_found_at() {
    let row = "nobody can connect to …: give the address at which the others find the node";
    let (_dir, builder) = any();
    refusal(builder.cluster([(1, "0.0.0.0:7000")]), row).await;
    let (_dir, builder) = any();
    refusal(builder.join(["127.0.0.1:1"]).listen("0.0.0.0:0"), row).await;
    let (_dir, builder) = any();
    let builder = builder.join(["127.0.0.1:1"]).listen("0.0.0.0:0").advertise("127.0.0.1:7");
    builder.start().await.unwrap().shutdown().await.unwrap();
}

#[tokio::test]
async fn port_0_in_a_list_is_refused() {
    let (_dir, builder) = any();
    refusal(builder.cluster([(1, "127.0.0.1:0")]), "nobody can connect to port 0").await;
}

#[tokio::test]
async fn a_joiner_that_is_not_told_where_to_listen_is_refused() {
    let (_dir, builder) = any();
    refusal(builder.join(["127.0.0.1:1"]), "a node that joins must be told by listen()").await;
}

#[tokio::test]
async fn a_joiner_that_names_itself_is_refused() {
    let own = addresses(1)[0].1.clone();
    let (_dir, builder) = any();
    refusal(builder.listen(own.clone()).join([own]), "join() names …, which is this node itself").await;
}

#[tokio::test]
async fn a_port_that_is_taken_and_an_address_of_another_machine_are_refused() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_dir, builder) = any();
    let list = [(1, held.local_addr().unwrap().to_string())];
    refusal(builder.cluster(list), "cannot listen on …; stop what listens there").await;
    let (_dir, builder) = any();
    let elsewhere = builder.cluster([(1, "192.0.2.1:7000")]);
    refusal(elsewhere, "cannot listen on …; that is no address of this machine").await;
}

#[tokio::test]
async fn timeouts_that_cannot_work_are_refused() {
    let (_dir, builder) = any();
    let builder = builder.cluster([(1, "127.0.0.1:1")]).config(|config| config.heartbeat_interval_ms = 400);
    refusal(builder, "the configuration cannot work: …; make it a third or less").await;
}

#[test]
fn outside_of_tokio_a_node_does_not_start() {
    let (_dir, builder) = any();
    let starting = pin!(builder.cluster([(1, "127.0.0.1:1")]).start());
    let Poll::Ready(Err(error)) = starting.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it waits for something outside of any runtime")
    };
    explained(&error.to_string(), "a node must be started within a tokio runtime");
}

/// With which words a runtime that lacks something panics.
fn panic_in(runtime: &mut tokio::runtime::Builder) -> String {
    let (_dir, builder) = any();
    let runtime = runtime.build().unwrap();
    let starting = builder.cluster(addresses(1)).start();
    let panic = catch_unwind(AssertUnwindSafe(|| runtime.block_on(starting).map(drop))).unwrap_err();
    panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or(panic.downcast_ref().cloned()).unwrap()
}

#[test]
fn a_runtime_without_timers_or_sockets_is_told_apart_by_tokio_before_anything_runs() {
    let words = panic_in(tokio::runtime::Builder::new_current_thread().enable_io());
    explained(&words, "timers are disabled");
    let words = panic_in(tokio::runtime::Builder::new_current_thread().enable_time());
    explained(&words, "IO is disabled");
}
