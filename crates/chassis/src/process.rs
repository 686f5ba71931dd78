//! What every process tells of itself on `/metrics`: which release it is, and what it takes of its machine. It is read from
//! `/proc` when it is asked for; where there is none, the release alone is told.

use std::{fmt::Write as _, fs};

use rustix::{
    param,
    process::{Resource, getrlimit},
};

/// In the Prometheus text format, under the names that Prometheus' own libraries use.
pub fn render() -> String {
    let mut text = String::new();
    let build = format!("rollcall_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    family(&mut text, "rollcall_build_info", "gauge", "Which release this is", &build, 1.0);
    let stat = fs::read_to_string("/proc/self/stat").ok();
    if let Some(used) = stat.as_deref().and_then(Used::parse) {
        let ticks = param::clock_ticks_per_second() as f64;
        plain(
            &mut text,
            "process_cpu_seconds_total",
            "counter",
            "CPU time, user and system",
            used.cpu / ticks,
        );
        plain(&mut text, "process_resident_memory_bytes", "gauge", "Memory that is in RAM", used.resident);
        plain(&mut text, "process_virtual_memory_bytes", "gauge", "Addresses that are mapped", used.mapped);
        if let Some(booted) = fs::read_to_string("/proc/stat").ok().as_deref().and_then(booted) {
            let started = booted + used.started / ticks;
            plain(&mut text, "process_start_time_seconds", "gauge", "Unix time of its start", started);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is this folder.
        let open = open.count().saturating_sub(1);
        plain(&mut text, "process_open_fds", "gauge", "Files and sockets that are open", open as f64);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        plain(&mut text, "process_max_fds", "gauge", "Files and sockets that may be open", most as f64);
    }
    text
}

/// What the kernel counts of a process: CPU time and start in ticks, memory in bytes.
#[derive(Debug, PartialEq)]
struct Used {
    cpu: f64,
    started: f64,
    mapped: f64,
    resident: f64,
}

impl Used {
    /// Of `/proc/<pid>/stat`. The name in it is the process's own, in brackets, and may hold brackets and spaces.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        // By their numbers in proc(5), of which the first two come before this.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu: field(14)? + field(15)?,
            started: field(22)?,
            mapped: field(23)?,
            resident: field(24)? * param::page_size() as f64,
        })
    }
}

/// When the machine started, in Unix seconds.
fn booted(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn plain(text: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    family(text, name, kind, help, name, value);
}

/// `sample` is the name with its labels.
fn family(text: &mut String, name: &str, kind: &str, help: &str, sample: &str, value: f64) {
    // A String takes everything.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{sample} {value}\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_shifts_nothing() {
        let stat = "7 (a) S (b) R 1 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 4 0 12345 4096 3 1844 1 1 0 0";
        let page = param::page_size() as f64;
        let used = Used { cpu: 200.0, started: 12_345.0, mapped: 4_096.0, resident: 3.0 * page };
        assert_eq!(Used::parse(stat), Some(used));
        assert_eq!((Used::parse("7 (a) R 1"), Used::parse("")), (None, None));
        assert_eq!(booted("cpu 1 2\nbtime 1790000000\nprocesses 3\n"), Some(1_790_000_000.0));
    }

    #[test]
    fn this_process_is_told_of_by_the_names_that_are_usual() {
        let text = render();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
            line.parse::<f64>().unwrap()
        };
        assert!(
            text.contains(&format!("rollcall_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION")))
        );
        assert!(value("process_resident_memory_bytes") > 1_000_000.0, "{text}");
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"), "{text}");
        assert!((3.0..=value("process_max_fds")).contains(&value("process_open_fds")), "{text}");
        assert!(value("process_cpu_seconds_total") >= 0.0, "{text}");
        let age = crate::Clock::system().now() as f64 / 1_000.0 - value("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "it started {age} s ago: {text}");
    }
}
