//! Joining a cluster that exists: an empty node asks any member, the leader admits it by an entry of the log, and the
//! node records the cluster durably before it serves.
//!
//! Every step may be repeated: a node that is a member already, on this very store, is admitted again at once. So a
//! joiner that was killed at any point starts anew with the same call, until its log holds a membership. A node id that
//! belongs to another store is never taken over: that store's promises would be broken by one that knows none of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use openraft_adapters::{
    Env, Identity, IdentityStore, JoinNetwork, JoinReply, JoinRequest, JoinServer, RaftTypeConfig,
    StorageError,
};
use openraft_engine::{ChangeRefused, ClusterId, NodeId, Replica};
use tokio::sync::watch;

use crate::{ChangeMembershipError, Raft};

/// The first pause before the next member is asked; it doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long one member may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What the application has against a node, by id and address; it may be asked again at any time.
type Condition<C> = Box<
    dyn Fn(&<C as RaftTypeConfig>::NodeId, &<C as RaftTypeConfig>::Node) -> Result<(), String> + Send + Sync,
>;

/// A member's part: it admits who asks, if it leads.
pub struct Admission<C: RaftTypeConfig> {
    identity: Arc<dyn IdentityStore<C>>,
    raft: Raft<C>,
    condition: Option<Condition<C>>,
}

impl<C: RaftTypeConfig> fmt::Debug for Admission<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("me", &self.raft.replica()).finish_non_exhaustive()
    }
}

impl<C: RaftTypeConfig> Admission<C> {
    /// The part of the node that `identity` describes and `raft` runs. The node need not be in a cluster yet. Holds the
    /// handle: the node does not stop by itself while this is there.
    pub fn new(identity: Arc<dyn IdentityStore<C>>, raft: Raft<C>) -> Self {
        Self { identity, raft, condition: None }
    }

    /// Admits only whom `condition` admits, given the asker's id and address; otherwise its reason is answered as
    /// something that passes, so that the asker waits and asks again. Called for every request, on the member that was
    /// asked; must not block.
    pub fn admit_if(
        mut self,
        condition: impl Fn(&C::NodeId, &C::Node) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.condition = Some(Box::new(condition));
        self
    }

    /// What speaks against the asker whoever leads.
    fn objection(
        &self,
        me: &Identity<C::NodeId>,
        cluster_id: ClusterId,
        request: &JoinRequest<C::NodeId, C::Node>,
    ) -> Option<String> {
        let asker = request.from;
        if request.cluster_name != me.cluster_name {
            return Some(format!(
                "this is the cluster {:?}, not {:?}: give every node of a cluster the same name",
                me.cluster_name, request.cluster_name
            ));
        }
        if let Some(theirs) = request.cluster_id.filter(|theirs| *theirs != cluster_id) {
            return Some(format!(
                "your directory belongs to the cluster {theirs}, and this is {cluster_id}: give the addresses of that \
                 cluster, or an empty directory"
            ));
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let nodes = metrics.membership.membership.nodes();
        if let Some((id, _)) =
            nodes.iter().find(|(id, member)| **id != asker.node_id && member.node == request.node)
        {
            return Some(format!(
                "node {id} of this cluster has the address that you give as yours: give every node its own"
            ));
        }
        None
    }
}

/// What an asker is told that says it is the node that it asks.
fn myself<NID: NodeId>(me: &Replica<NID>, asker: &Replica<NID>) -> String {
    let id = me.node_id;
    if me == asker {
        format!("node {id} asked itself: give it the address of a node that is a member already")
    } else {
        format!("this is node {id} itself: give the new node another id")
    }
}

#[async_trait]
impl<C: RaftTypeConfig> JoinServer<C> for Admission<C> {
    async fn join(&self, request: JoinRequest<C::NodeId, C::Node>) -> JoinReply<C::Node> {
        let me = self.identity.identity();
        if request.from.node_id == me.replica.node_id {
            return JoinReply::Refused { reason: myself(&me.replica, &request.from) };
        }
        let Some(cluster_id) = me.cluster_id.filter(|_| self.raft.is_initialized()) else {
            return JoinReply::NotNow {
                reason: "it is in no cluster itself yet; somebody must form one, and only later nodes join"
                    .to_owned(),
            };
        };
        if let Some(reason) = self.objection(&me, cluster_id, &request) {
            return JoinReply::Refused { reason };
        }
        let JoinRequest { from, node, promote, .. } = request;
        if let Some(Err(reason)) = self.condition.as_ref().map(|admits| admits(&from.node_id, &node)) {
            return JoinReply::NotNow { reason };
        }
        match self.raft.add_learner(from.node_id, from.store_id, node, promote).await {
            Ok(log_id) => {
                tracing::info!(node = %from, %log_id, promote, "a node has joined");
                JoinReply::Admitted { cluster_id }
            }
            Err(ChangeMembershipError::NotLeader(forward)) => match forward.leader {
                Some((_, node)) => JoinReply::AskLeader { node },
                None => JoinReply::NotNow { reason: "it knows of no leader".to_owned() },
            },
            Err(ChangeMembershipError::Refused(ChangeRefused::Invalid(invalid))) => {
                JoinReply::Refused { reason: invalid.to_string() }
            }
            Err(error) => JoinReply::NotNow { reason: error.to_string() },
        }
    }
}

/// Why a node cannot join. Unlike what it waits for, none of it passes with time.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A member refuses.
    #[error("the cluster refuses this node: {reason}")]
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// The cluster could not be recorded.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// An empty node's part: it asks until it is admitted.
pub struct Joining<C: RaftTypeConfig> {
    identity: Arc<dyn IdentityStore<C>>,
    node: C::Node,
    members: Vec<C::Node>,
    promote: bool,
    waiting: watch::Sender<String>,
}

impl<C: RaftTypeConfig> fmt::Debug for Joining<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joining").field("members", &self.members).finish_non_exhaustive()
    }
}

impl<C: RaftTypeConfig> Joining<C> {
    /// The part of the node that `identity` describes, which others find as `node` says. One of `members` that answers
    /// is enough. With `promote` the node becomes a voter by itself once it has caught up.
    ///
    /// # Panics
    /// If there are no members.
    pub fn new(
        identity: Arc<dyn IdentityStore<C>>,
        node: C::Node,
        members: Vec<C::Node>,
        promote: bool,
    ) -> Self {
        assert!(!members.is_empty(), "somebody must be asked");
        let waiting = watch::Sender::new("no member was asked yet".to_owned());
        Self { identity, node, members, promote, waiting }
    }

    /// What the node waits for, in words for an operator, now and whenever it changes.
    pub fn waiting(&self) -> watch::Receiver<String> {
        self.waiting.subscribe()
    }

    /// Asks one member after the other, and the leader that one names, until the node is admitted; then records the
    /// cluster durably and returns it. The leader sends the log from then on.
    ///
    /// To be called whenever the log holds no membership, also if a cluster is recorded: a crash may have come between.
    /// Waits for as long as it takes; [`waiting`](Self::waiting) tells for what.
    ///
    /// # Errors
    /// See [`JoinError`].
    ///
    /// # Cancellation
    /// Safe: the node may have been admitted, and is again by a later call.
    pub async fn join(&self, network: &dyn JoinNetwork<C>, env: &Env) -> Result<ClusterId, JoinError> {
        let mut members = self.members.iter().enumerate().cycle();
        // What each member said last, and behind them what the leader that one named did.
        let mut reasons: BTreeMap<usize, String> = BTreeMap::new();
        let mut leader: Option<C::Node> = None;
        let mut pause = PAUSE_MIN;
        loop {
            let named = leader.is_some();
            let asked = leader.take().map(|node| (self.members.len(), node));
            let asked = asked.or_else(|| members.next().map(|(i, node)| (i, node.clone())));
            let (i, asked) = asked.expect("members come round again");
            let reason = match env.timeout(ANSWER_WITHIN, network.join(&asked, self.request())).await {
                Ok(Ok(JoinReply::Admitted { cluster_id })) => {
                    self.identity.record_cluster(cluster_id).await?;
                    tracing::info!(%cluster_id, "the cluster has admitted this node");
                    self.waiting.send_replace("for the log, which the leader will send".to_owned());
                    return Ok(cluster_id);
                }
                Ok(Ok(JoinReply::Refused { reason })) => return Err(JoinError::Refused { reason }),
                // It led before it was removed, or lost its directory, and the member has not heard of it yet. To follow
                // would be to ask itself, which is refused for good.
                Ok(Ok(JoinReply::AskLeader { node })) if node == self.node => {
                    "a member still takes this node for the leader".to_owned()
                }
                Ok(Ok(JoinReply::AskLeader { node })) => {
                    leader = Some(node);
                    if !named {
                        reasons.remove(&i);
                        continue;
                    }
                    // Two that name each other are not asked in turn without a pause.
                    "the leader is changing".to_owned()
                }
                Ok(Ok(JoinReply::NotNow { reason })) => format!("a member says: {reason}"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("a member did not answer within {ANSWER_WITHIN:?}"),
            };
            reasons.insert(i, reason);
            let reason = reasons.values().map(String::as_str).collect::<Vec<_>>().join("; ");
            self.waiting.send_if_modified(|before| {
                let news = *before != reason;
                if news {
                    tracing::info!(reason, "joining a cluster: not admitted yet");
                    *before = reason;
                }
                news
            });
            env.sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn request(&self) -> JoinRequest<C::NodeId, C::Node> {
        let Identity { replica, cluster_name, cluster_id } = self.identity.identity();
        JoinRequest {
            from: replica,
            node: self.node.clone(),
            cluster_name,
            cluster_id,
            promote: self.promote,
        }
    }
}
