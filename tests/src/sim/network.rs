//! The simulated network: which links carry what, how late, and how often twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft_adapters::{Env, RaftNetwork, RaftNetworkFactory, RaftServer, RaftTypeConfig};
use openraft_engine::BasicNode;
use rand::Rng;

use super::chance::Chance;
use super::coverage::Reached;
use super::link::Link;
use super::observer::Observer;
use super::settings::Weather;
use super::trace::{Event, Message};

/// The longest that a message is ever under way.
const LATEST: Duration = Duration::from_secs(3);

/// What is wrong with one direction between two nodes.
#[derive(Clone, Copy, Default)]
struct Trouble {
    cut: bool,
    /// How many times as long everything takes; not at all longer if zero.
    slow: u32,
}

/// The network of one run.
pub(super) struct Network<C: RaftTypeConfig> {
    shared: Arc<Shared<C>>,
}

impl<C: RaftTypeConfig> Clone for Network<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<C: RaftTypeConfig> {
    chance: Chance,
    observer: Observer,
    state: Mutex<State<C>>,
}

struct State<C: RaftTypeConfig> {
    servers: BTreeMap<u64, Arc<dyn RaftServer<C>>>,
    /// Directed links that are not whole.
    troubles: BTreeMap<(u64, u64), Trouble>,
    weather: Weather,
}

impl<C: RaftTypeConfig<NodeId = u64, Node = BasicNode>> Network<C> {
    pub(super) fn new(chance: Chance, observer: Observer, weather: Weather) -> Self {
        let state = State { servers: BTreeMap::new(), troubles: BTreeMap::new(), weather };
        Self { shared: Arc::new(Shared { chance, observer, state: Mutex::new(state) }) }
    }

    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn observer(&self) -> &Observer {
        &self.shared.observer
    }

    pub(super) fn register(&self, id: u64, server: Arc<dyn RaftServer<C>>) {
        self.state().servers.insert(id, server);
    }

    pub(super) fn unregister(&self, id: u64) {
        self.state().servers.remove(&id);
    }

    pub(super) fn server(&self, id: u64) -> Option<Arc<dyn RaftServer<C>>> {
        self.state().servers.get(&id).cloned()
    }

    /// Cuts the link from `from` to `to`, in this direction.
    pub(super) fn cut(&self, from: u64, to: u64) {
        self.state().troubles.entry((from, to)).or_default().cut = true;
    }

    /// Makes the link from `from` to `to` so many times as slow.
    pub(super) fn slow(&self, from: u64, to: u64, times: u32) {
        self.state().troubles.entry((from, to)).or_default().slow = times;
    }

    /// Whether messages pass between two nodes, both ways.
    pub(super) fn is_whole(&self, one: u64, other: u64) -> bool {
        let state = self.state();
        let cut = |link| state.troubles.get(&link).is_some_and(|trouble| trouble.cut);
        !cut((one, other)) && !cut((other, one))
    }

    /// Makes every link whole; from now on one message in `lose_one_in` is lost.
    pub(super) fn heal(&self, lose_one_in: u32) {
        let mut state = self.state();
        state.troubles.clear();
        state.weather.lose_one_in = lose_one_in;
    }

    /// Makes the links among `nodes` whole; nothing is lost or late any more, anywhere but on the other broken links.
    pub(super) fn heal_among(&self, nodes: &[u64]) {
        let mut state = self.state();
        state.troubles.retain(|(from, to), _| !(nodes.contains(from) && nodes.contains(to)));
        state.weather.lose_one_in = 0;
        state.weather.late_one_in = 0;
    }

    /// For how long a message is under way.
    pub(super) fn delay(&self, from: u64, to: u64) -> Duration {
        let (weather, trouble) = {
            let state = self.state();
            (state.weather, state.troubles.get(&(from, to)).copied().unwrap_or_default())
        };
        let late = self.shared.chance.one_in(weather.late_one_in);
        let micros = self.shared.chance.draw(|rng| {
            let usual = weather.latency_micros;
            let micros = rng.random_range(usual / 2..usual * 2);
            // A heavy tail: of those that are late half are twice as late, and so on.
            if late { micros + (10_000.0 / rng.random_range(0.003_f64..1.0)) as u64 } else { micros }
        });
        let delay = Duration::from_micros(micros * u64::from(trouble.slow.max(1))).min(LATEST);
        if delay >= Duration::from_millis(100) {
            self.shared.observer.count(Reached::MessageLate);
        }
        delay
    }

    /// Whether a message gets through.
    pub(super) fn passes(&self, from: u64, to: u64) -> bool {
        let (cut, lose_one_in) = {
            let state = self.state();
            (state.troubles.get(&(from, to)).is_some_and(|link| link.cut), state.weather.lose_one_in)
        };
        let passes = !cut && !self.shared.chance.one_in(lose_one_in);
        if !passes {
            self.shared.observer.count(Reached::MessageLost);
        }
        passes
    }

    /// Whether a call arrives a second time.
    pub(super) fn arrives_twice(&self) -> bool {
        let weather = self.state().weather;
        let twice = self.shared.chance.one_in(weather.twice_one_in);
        if twice {
            self.shared.observer.count(Reached::MessageTwice);
        }
        twice
    }

    /// A message has arrived.
    pub(super) fn delivered(&self, from: u64, to: u64, message: impl Into<Message>) {
        self.shared.observer.step(Event::Delivered { from, to, message: message.into() });
    }

    /// The network as node `from` sees it.
    pub(super) fn of(&self, from: u64, env: Env) -> Arc<dyn RaftNetworkFactory<C>> {
        Arc::new(Factory { network: self.clone(), from, env })
    }
}

struct Factory<C: RaftTypeConfig> {
    network: Network<C>,
    from: u64,
    env: Env,
}

impl<C: RaftTypeConfig<NodeId = u64, Node = BasicNode>> RaftNetworkFactory<C> for Factory<C> {
    fn network(&self, target: u64, _node: &BasicNode) -> Arc<dyn RaftNetwork<C>> {
        Arc::new(Link::new(self.network.clone(), self.from, target, self.env.clone()))
    }
}
