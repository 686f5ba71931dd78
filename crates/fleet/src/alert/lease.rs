//! Which agent tells somebody when the suite is away. Agents that are cut off cannot know what the others do, so one of them
//! is elected before: it holds a lease, and at every moment at most one does, whoever's clock is how far off within
//! [`APART`].
//!
//! Management elects, gates hand out what is left of the lease, and the agent counts that from when it sent the request that
//! was answered, by a clock that nobody sets. So an agent never holds a lease for longer than the gate's clock says.

use crate::{Millis, ServerId};

/// How long a lease runs when it is written.
pub const LEASE: Millis = 180_000;

/// So long after the end of a lease nobody else is elected: clocks of gates and of management may be 30 s off, each to its
/// side.
pub const APART: Millis = 60_000;

/// Longest interval of an agent that may hold the lease: a lease has to be running when a failure begins.
pub const SLOWEST: Millis = 60_000;

/// A lease is written anew when that makes it longer by so much.
const RENEW: Millis = 30_000;

/// Who tells when the suite is away, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Its holder.
    pub server: ServerId,
    /// In Unix ms.
    pub until: Millis,
}

impl Lease {
    /// How much of it a gate hands out to this server at `now`, in ms. Nothing of a lease that a clock wrote which was wrong.
    pub fn left(&self, server: ServerId, now: Millis) -> Option<Millis> {
        let left = self.until - now;
        (self.server == server && (1..=LEASE + APART).contains(&left)).then_some(left)
    }

    /// Whether another server may be elected at `now`: it ended long enough ago, or a clock wrote it that was wrong.
    pub fn is_free(&self, now: Millis) -> bool {
        self.until <= now - APART || self.until > wrong_after(now)
    }
}

/// A lease that ends later is from a clock that was wrong.
pub fn wrong_after(now: Millis) -> Millis {
    now + LEASE + 2 * APART
}

/// What to write in the place of the lease that is `held`, given the agents that are heard and would tell: a longer one for its
/// holder, or one for another; `None`: it stays as it is.
pub fn elect(held: Option<Lease>, living: &[ServerId], now: Millis) -> Option<Lease> {
    let until = now + LEASE;
    let holder = held.map(|held| held.server).filter(|server| living.contains(server));
    match held {
        Some(held) if !held.is_free(now) => {
            let server = holder.filter(|_| until - held.until >= RENEW)?;
            Some(Lease { server, until })
        }
        _ => holder.or_else(|| living.iter().min().copied()).map(|server| Lease { server, until }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = 1_790_000_000_000;

    fn id(number: u8) -> ServerId {
        ServerId::from_bytes([number; 16])
    }

    fn lease(server: u8, until: Millis) -> Lease {
        Lease { server: id(server), until }
    }

    #[test]
    fn a_holder_keeps_the_lease_while_it_is_heard_and_another_has_it_a_minute_after() {
        let fresh = |server| Some(lease(server, NOW + LEASE));
        let cases = [
            // held, who is heard, what is written
            (None, vec![], None),
            (None, vec![id(2), id(1)], fresh(1)),
            (Some(lease(2, NOW + LEASE - RENEW + 1)), vec![id(1), id(2)], None),
            (Some(lease(2, NOW + LEASE - RENEW)), vec![id(1), id(2)], fresh(2)),
            (Some(lease(2, NOW + 1)), vec![id(1)], None),
            (Some(lease(2, NOW - APART + 1)), vec![id(1)], None),
            (Some(lease(2, NOW - APART + 1)), vec![id(1), id(2)], fresh(2)),
            (Some(lease(2, NOW - APART)), vec![id(1)], fresh(1)),
            (Some(lease(2, NOW - APART)), vec![id(1), id(2)], fresh(2)),
            (Some(lease(2, wrong_after(NOW))), vec![id(1)], None),
            (Some(lease(2, wrong_after(NOW) + 1)), vec![id(1)], fresh(1)),
        ];
        for (held, living, expected) in cases {
            assert_eq!(elect(held, &living, NOW), expected, "{held:?}, {living:?}");
        }
    }

    #[test]
    fn a_gate_hands_out_what_is_left_and_nothing_of_a_wrong_clock() {
        let left = |until| lease(1, until).left(id(1), NOW);
        assert_eq!((left(NOW + 1), left(NOW + LEASE)), (Some(1), Some(LEASE)));
        assert_eq!(left(NOW + LEASE + APART), Some(LEASE + APART));
        assert_eq!([left(NOW), left(NOW - 1), left(NOW + LEASE + APART + 1)], [None; 3]);
        assert_eq!(lease(1, NOW + 1).left(id(2), NOW), None);
    }

    /// One step of a history. Numbers name who does it, and are taken modulo how many there are.
    #[derive(Debug, Clone)]
    enum Step {
        /// Nothing happens for so long.
        Pass(Millis),
        /// A management reads the row, and who it hears: one bit for each agent.
        Read(usize, u8),
        /// It writes what it decided by what it read last, however long ago.
        Write(usize),
        /// It puts what it read last into the cache.
        Publish(usize),
        /// A gate reads the cache; without this it goes on with what it knows.
        Refresh(usize),
        /// An agent sends a request to a gate, which takes it at once.
        Send(usize, usize),
        /// The answer to an agent's request arrives.
        Answer(usize),
        /// A management does all of its turn.
        Turn(usize, u8),
        /// A gate that reads the cache answers an agent at once.
        Talk(usize, usize),
    }

    const AGENTS: usize = 4;
    const OTHERS: usize = 3;

    /// An agent: when it sent the request that is on its way, and what the answer says; until when it holds the lease.
    type Holder = (Option<(Millis, Option<Millis>)>, Millis);

    /// The suite and its agents, with the real time, which no part of them knows.
    struct World {
        real: Millis,
        /// The row of the registry.
        row: Option<Lease>,
        cache: Option<Lease>,
        /// By management: how far its clock is off, what it read, and what it decided.
        managements: [(Millis, Option<Lease>, Option<Lease>); OTHERS],
        /// By gate: how far its clock is off, and the lease that it knows.
        gates: [(Millis, Option<Lease>); OTHERS],
        agents: [Holder; AGENTS],
    }

    impl World {
        fn new(off: &[Millis]) -> Self {
            let managements = [0, 1, 2].map(|at| (off[at], None, None));
            let gates = [3, 4, 5].map(|at| (off[at], None));
            let agents = [(None, 0); AGENTS];
            Self { real: NOW, row: None, cache: None, managements, gates, agents }
        }

        fn step(&mut self, step: &Step) {
            match step {
                Step::Turn(who, heard) => {
                    let turn = [
                        Step::Read(*who, *heard),
                        Step::Write(*who),
                        Step::Read(*who, 0),
                        Step::Publish(*who),
                    ];
                    turn.iter().for_each(|step| self.step(step));
                }
                Step::Talk(agent, gate) => {
                    let talk = [Step::Refresh(*gate), Step::Send(*agent, *gate), Step::Answer(*agent)];
                    talk.iter().for_each(|step| self.step(step));
                }
                Step::Pass(time) => self.real += time,
                Step::Read(who, heard) => {
                    let living: Vec<ServerId> =
                        (0..4).filter(|bit| heard & (1 << bit) != 0).map(id).collect();
                    let now = self.real + self.managements[*who].0;
                    self.managements[*who].1 = self.row;
                    self.managements[*who].2 = elect(self.row, &living, now);
                }
                Step::Write(who) => {
                    let (off, _, decided) = self.managements[*who];
                    let now = self.real + off;
                    // As the registry says it in SQL, at one moment.
                    if let Some(new) = decided
                        && self.row.is_none_or(|row| {
                            row.is_free(now) || (row.server == new.server && row.until < new.until)
                        })
                    {
                        self.row = Some(new);
                    }
                }
                Step::Publish(who) => self.cache = self.managements[*who].1,
                Step::Refresh(gate) => self.gates[*gate].1 = self.cache,
                Step::Send(agent, gate) => {
                    let (off, known) = self.gates[*gate];
                    let server = id(u8::try_from(*agent).unwrap());
                    let left = known.and_then(|lease| lease.left(server, self.real + off));
                    self.agents[*agent].0 = Some((self.real, left));
                }
                Step::Answer(agent) => {
                    let held = &mut self.agents[*agent];
                    if let Some((sent, Some(left))) = held.0.take() {
                        held.1 = held.1.max(sent + left);
                    }
                }
            }
        }

        fn holders(&self) -> usize {
            self.agents.iter().filter(|(_, until)| *until > self.real).count()
        }
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => prop_oneof![1..5_000_i64, 1_000..30_000_i64, 10_000..90_000_i64].prop_map(Step::Pass),
            1 => (0..OTHERS, 0..16_u8).prop_map(|(who, heard)| Step::Read(who, heard)),
            1 => (0..OTHERS).prop_map(Step::Write),
            1 => (0..OTHERS).prop_map(Step::Publish),
            1 => (0..OTHERS).prop_map(Step::Refresh),
            2 => (0..AGENTS, 0..OTHERS).prop_map(|(agent, gate)| Step::Send(agent, gate)),
            1 => (0..AGENTS).prop_map(Step::Answer),
            4 => (0..OTHERS, 0..16_u8).prop_map(|(who, heard)| Step::Turn(who, heard)),
            4 => (0..AGENTS, 0..OTHERS).prop_map(|(agent, gate)| Step::Talk(agent, gate)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: histories(), ..ProptestConfig::default() })]

        /// Parts stand still, are cut off and come back in any order; no clock is off by more than 25 s.
        #[test]
        fn at_every_moment_at_most_one_agent_holds_the_lease(
            off in prop::collection::vec(-25_000..=25_000_i64, 2 * OTHERS),
            steps in prop::collection::vec(steps(), 100..400),
        ) {
            let mut world = World::new(&off);
            for step in &steps {
                world.step(step);
                prop_assert!(world.holders() <= 1, "after {:?}", step);
            }
        }

        /// All of it works, an agent dies, and within the time that its lease and the gap after it take another one holds it.
        #[test]
        fn whoever_is_heard_takes_over_from_a_holder_that_is_gone(
            off in prop::collection::vec(-25_000..=25_000_i64, 2 * OTHERS),
            gone in 0..AGENTS,
        ) {
            let mut world = World::new(&off);
            let turn = |world: &mut World, heard: u8| {
                (0..OTHERS).for_each(|who| world.step(&Step::Turn(who, heard)));
                for agent in (0..AGENTS).filter(|agent| heard & (1 << agent) != 0) {
                    world.step(&Step::Talk(agent, agent % OTHERS));
                }
                world.step(&Step::Pass(5_000));
            };
            for _ in 0..4 {
                turn(&mut world, 1 << gone);
            }
            prop_assert!(world.agents[gone].1 > world.real);
            let end = world.real + LEASE + APART + 2 * 50_000;
            while world.real < end {
                turn(&mut world, 15 & !(1 << gone));
                prop_assert!(world.holders() <= 1);
            }
            prop_assert_eq!(world.holders(), 1);
            prop_assert!(world.agents[gone].1 <= world.real);
        }
    }

    /// Some hundred, or as many as ROLLCALL_HISTORIES says.
    fn histories() -> u32 {
        std::env::var("ROLLCALL_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(256)
    }
}
