//! The fleet composition on real servers while its parts break; and what the simulator and the oracle promise to those who
//! believe them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod drive;
mod faults;
mod flow;
mod metrics;
mod oracle;
mod stage;

use fleet::ServerId;
use simulator::Simulated;

fn fleet(count: u8) -> Vec<Simulated> {
    let id = |number| ServerId::new(1_790_000_000_000, [number; 10]);
    (0..count).map(|number| Simulated { id: id(number), credential: number.to_string(), newest: 0 }).collect()
}
