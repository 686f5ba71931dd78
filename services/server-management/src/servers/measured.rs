//! What agents send, as the document describes it: the wire types know serde alone, so they cannot describe themselves.
//! These are never made; a test holds them against the golden file of the wire.
#![expect(dead_code, reason = "the document alone tells of it")]

use utoipa::ToSchema;

use super::ran::Processes;

/// What a host tells of itself. What the system does not tell is left out.
#[derive(ToSchema)]
pub(crate) struct Facts {
    /// The name that the host gives itself.
    hostname: Option<String>,
    /// Operating system and its version.
    os: Option<String>,
    /// Kernel version.
    kernel: Option<String>,
    /// Architecture, such as `x86_64`.
    arch: Option<String>,
    /// Model of the first processor.
    cpu_model: Option<String>,
    /// When the host started, in Unix ms.
    boot_at: Option<i64>,
    /// Version of the agent.
    agent_version: Option<String>,
}

/// One sample of one server. What the system does not tell is left out.
#[derive(ToSchema)]
pub(crate) struct Snapshot {
    /// When it was sampled, in Unix ms by the agent's clock; with the server it is the snapshot's identity.
    #[schema(example = 1_790_000_000_000_i64)]
    sampled_at: i64,
    /// For how long before `sampled_at` it vouches that the server ran; 0 to twice `interval_ms`.
    #[schema(minimum = 0, maximum = 7_200_000, example = 30_000)]
    covers_ms: i64,
    /// Facts about the host; sent when they change and from time to time.
    #[schema(nullable = false)]
    host: Option<Facts>,
    #[schema(nullable = false)]
    cpu: Option<Cpu>,
    /// Load averages over 1, 5 and 15 minutes.
    #[schema(value_type = Option<Vec<f32>>, nullable = false, min_items = 3, max_items = 3)]
    load: Option<[f32; 3]>,
    #[schema(nullable = false)]
    memory: Option<Memory>,
    /// Mounted file systems.
    #[schema(nullable = false, max_items = 64)]
    disks: Option<Vec<Disk>>,
    /// Network interfaces.
    #[schema(nullable = false, max_items = 64)]
    networks: Option<Vec<Network>>,
    /// Sensors.
    #[schema(nullable = false, max_items = 128)]
    temperatures: Option<Vec<Temperature>>,
    #[schema(nullable = false)]
    agent: Option<AgentState>,
    /// What runs on the host. `latest` of a server does not have it.
    #[schema(nullable = false)]
    processes: Option<Processes>,
}

/// Processor use since the sample before, in percent of all cores.
#[derive(ToSchema)]
pub(crate) struct Cpu {
    /// Everything but idle and waiting.
    total: Option<f32>,
    /// In user space.
    user: Option<f32>,
    /// In the kernel.
    system: Option<f32>,
    /// Idle while a disk was waited for.
    iowait: Option<f32>,
    /// Taken by the hypervisor for others.
    steal: Option<f32>,
    /// Use of each core.
    #[schema(nullable = false, max_items = 1_024)]
    cores: Option<Vec<f32>>,
}

/// Memory and swap, in bytes.
#[derive(ToSchema)]
pub(crate) struct Memory {
    /// Installed.
    total: Option<u64>,
    /// Total less available.
    used: Option<u64>,
    /// What programs can still have without swapping.
    available: Option<u64>,
    swap_total: Option<u64>,
    swap_used: Option<u64>,
}

/// One mounted file system.
#[derive(ToSchema)]
pub(crate) struct Disk {
    /// Where it is mounted.
    mount: Option<String>,
    /// The device behind it.
    device: Option<String>,
    /// Such as `ext4`.
    filesystem: Option<String>,
    /// Bytes.
    total: Option<u64>,
    /// Bytes.
    used: Option<u64>,
    /// Bytes per second.
    read: Option<u64>,
    /// Bytes per second.
    written: Option<u64>,
}

/// One network interface.
#[derive(ToSchema)]
pub(crate) struct Network {
    /// Such as `eth0`.
    name: Option<String>,
    /// Bytes per second.
    received: Option<u64>,
    /// Bytes per second.
    sent: Option<u64>,
}

/// One sensor.
#[derive(ToSchema)]
pub(crate) struct Temperature {
    /// Which sensor.
    name: Option<String>,
    /// Degrees Celsius.
    celsius: Option<f32>,
}

/// What the agent reports of its own work; counters run since it was installed.
#[derive(ToSchema)]
pub(crate) struct AgentState {
    /// The gate's clock less the agent's, while it stamps by the gate's.
    skew_ms: Option<i64>,
    /// Snapshots that wait on its disk.
    spooled: Option<u64>,
    /// Snapshots that the spool's bounds cost.
    dropped: Option<u64>,
    /// Snapshots that a gate will never take.
    set_aside: Option<u64>,
    /// Disks, interfaces, cores, sensors and texts that were cut to the bounds of this interface.
    cut: Option<u64>,
    /// Whether it tells somebody itself when no gate answers.
    #[schema(nullable = false)]
    reporter: Option<bool>,
}

/// Snapshots to store.
#[derive(ToSchema)]
pub(crate) struct SendSnapshots {
    /// How often the server reports.
    #[schema(minimum = 1_000, maximum = 3_600_000, example = 30_000)]
    interval_ms: i64,
    #[schema(min_items = 1, max_items = 240)]
    snapshots: Vec<Snapshot>,
}

/// What was stored, or confirmed by the queue.
#[derive(ToSchema)]
pub(crate) struct Accepted {
    /// How many snapshots.
    accepted: u64,
    bulletin: Bulletin,
}

/// What the suite has to tell this one agent.
#[derive(ToSchema)]
pub(crate) struct Bulletin {
    /// The gate's clock, in Unix ms.
    now: i64,
    /// The credential to use from now on, while the key of credentials is replaced.
    #[schema(nullable = false)]
    credential: Option<String>,
    /// Present while this agent is the one that tells when no gate answers.
    #[schema(nullable = false)]
    watch: Option<Watch>,
}

/// That an agent is the one that tells when no gate answers.
#[derive(ToSchema)]
pub(crate) struct Watch {
    /// For how long, counted from when the request was sent that this answers.
    lease_ms: i64,
}

/// Why one snapshot of a request was refused; nothing of that request was taken.
#[derive(ToSchema)]
pub(crate) struct RefusedSnapshot {
    /// Position in the request, from 0.
    index: u64,
    #[schema(pattern = "^(invalid_snapshot|clock_ahead|too_old)$")]
    code: String,
    /// What is wrong, for people.
    reason: String,
}

/// Send snapshots.
///
/// The gate's, at the root of the same address: `/healthcheck/v1/snapshots`. The body may be gzipped; 256 KiB at most,
/// 1 MiB inflated. Unknown fields are ignored, so that an older suite serves a newer agent. 202 means stored; sending a
/// snapshot twice stores it once. Every other answer has the gate's clock as `now`; a 422 names the snapshots that are
/// at fault as `refused`, and then nothing of the request is taken.
#[utoipa::path(
    post, path = "/healthcheck/v1/snapshots", operation_id = "send_snapshots", tag = "agents",
    request_body = SendSnapshots,
    responses((status = 202, description = "They are stored", body = Accepted)),
    security(("credential" = []))
)]
pub(crate) fn send() {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;
    use utoipa::OpenApi;

    use crate::servers::Document;

    /// Every field that the wire has, with `.` between and without indices.
    fn fields(value: &Value, here: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    found.insert(format!("{here}.{name}"));
                    fields(value, &format!("{here}.{name}"), found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| fields(item, here, found)),
            _ => {}
        }
    }

    /// Every field that the document has below a schema.
    fn described(document: &Value, schema: &Value, here: &str, found: &mut BTreeSet<String>) {
        if let Some(reference) = schema["$ref"].as_str() {
            return described(document, document.pointer(&reference[1..]).unwrap(), here, found);
        }
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            found.insert(format!("{here}.{name}"));
            described(document, schema, &format!("{here}.{name}"), found);
        }
        described_within(document, schema, here, found);
    }

    fn described_within(document: &Value, schema: &Value, here: &str, found: &mut BTreeSet<String>) {
        let several = schema["oneOf"].as_array().into_iter().flatten();
        several.chain(schema.get("items")).for_each(|schema| described(document, schema, here, found));
    }

    #[test]
    fn what_agents_send_is_described_as_it_is_on_the_wire() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        for (schema, golden) in [
            ("SendSnapshots", include_str!("../../../../crates/wire/tests/it/golden/report.json")),
            ("Accepted", include_str!("../../../../crates/wire/tests/it/golden/accepted.json")),
        ] {
            let (mut on_the_wire, mut told) = (BTreeSet::new(), BTreeSet::new());
            fields(&serde_json::from_str(golden).unwrap(), "", &mut on_the_wire);
            described(&document, &document["components"]["schemas"][schema], "", &mut told);
            assert_eq!(told, on_the_wire, "{schema}");
        }
    }
}
