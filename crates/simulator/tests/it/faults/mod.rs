//! The fleet composition on real servers, with a fault between its parts. Every test ends with the oracle: nothing
//! acknowledged lost, nothing doubled, nothing invented, and no dead letter.

mod broker;
mod kills;
mod order;
mod restore;
mod stalls;
mod stores;
mod upgrade;
