//! Alerts: rules, what breaks them, incidents, and what is told of them.
