//! `docs/api.md` as a reader uses it: every line of its examples runs, from top to bottom, and the answers have the
//! fields that the page shows.

use std::{collections::BTreeSet, fs, net::SocketAddr, path::Path, process::Command};

use serde_json::Value;
use testkit::tempdir;

use crate::{binary::Running, suite::Client};

const PAGE: &str = include_str!("../../../../docs/api.md");

/// Where the page says that the suite listens.
const SUITE: &str = "http://127.0.0.1:8080";

/// Ends at the first line that fails, and names it. A status of 400 or more is a failure.
const STRICT: &str = r#"
set -Eeuo pipefail
trap 'printf "this line failed: %s\n" "$BASH_COMMAND" >&2' ERR
curl() { command curl --fail-with-body --max-time 60 "$@"; }
"#;

/// Stands before what each example prints.
const BEGINS: &str = "==== an example begins ====";

struct Example {
    lines: String,
    /// The JSON that the page shows as its answer.
    shown: Option<String>,
}

fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut fence: Option<(String, String)> = None;
    for line in page.lines() {
        match (&mut fence, line.strip_prefix("```")) {
            (None, Some(kind)) => fence = Some((kind.to_owned(), String::new())),
            (None, None) => {}
            (Some((_, lines)), None) => {
                lines.push_str(line);
                lines.push('\n');
            }
            (Some(_), Some(_)) => match (fence.take().unwrap(), examples.last_mut()) {
                ((kind, lines), _) if kind == "sh" => examples.push(Example { lines, shown: None }),
                ((kind, lines), Some(example)) if kind == "json" => example.shown = Some(lines),
                ((kind, _), _) => panic!("a fence of {kind:?}"),
            },
        }
    }
    examples
}

/// Runs the examples in `dir` against the suite at `address`. Returns what each of them printed.
fn run(examples: &[Example], address: SocketAddr, dir: &Path) -> Result<Vec<String>, String> {
    let mut script = STRICT.to_owned();
    for example in examples {
        script.push_str(&format!("printf '\\n%s\\n' '{BEGINS}'\n{}", example.lines));
    }
    let script = script.replace(SUITE, &format!("http://{address}"));
    fs::write(dir.join("examples"), script).unwrap();
    let mut bash = Command::new("bash");
    bash.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).current_dir(dir).arg("examples");
    let output = bash.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed.split(BEGINS).skip(1).map(str::to_owned).collect());
    }
    Err(format!("{printed}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn fields(answer: &Value) -> BTreeSet<&String> {
    answer.as_object().into_iter().flat_map(|members| members.keys()).collect()
}

#[tokio::test]
async fn the_examples_of_the_interface_run_from_top_to_bottom() {
    let dir = tempdir().unwrap();
    let (data, downloads) = (dir.path().join("data"), dir.path().join("downloads"));
    fs::create_dir(&downloads).unwrap();
    fs::write(downloads.join("rollcall-agent-x86_64"), "an agent").unwrap();
    let suite = Running::start(&data, &["--no-agent", "--agent-downloads", downloads.to_str().unwrap()]);
    Client::new(suite.address).log_in(&data).await;
    let examples = examples(PAGE);
    let printed = run(&examples, suite.address, dir.path()).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(printed.len(), examples.len());
    let mut compared = 0;
    for (example, printed) in examples.iter().zip(&printed) {
        // Some answers are shown with parts left out, and so are no JSON.
        let Some(shown) = example.shown.as_ref().and_then(|text| serde_json::from_str(text).ok()) else {
            continue;
        };
        let answers = serde_json::Deserializer::from_str(printed).into_iter::<Value>();
        let answers: Vec<Value> = answers.map_while(Result::ok).collect();
        let alike = answers.iter().any(|answer| fields(answer) == fields(&shown));
        assert!(alike, "the page shows {shown}\nfor\n{}\nwhich answers\n{printed}", example.lines);
        compared += 1;
    }
    assert!(compared >= 10, "{compared}");
}

#[tokio::test]
async fn an_example_that_is_refused_or_names_nothing_is_found() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    let suite = Running::start(&data, &["--no-agent"]);
    Client::new(suite.address).log_in(&data).await;
    let fails = |line: &str| {
        let page =
            format!("```sh\nsuite={SUITE}\ncurl -s $suite/health/live\n{line}\necho not reached\n```\n");
        run(&examples(&page), suite.address, dir.path()).unwrap_err()
    };
    let refused = fails("curl -s $suite/nowhere | tee answer");
    assert!(refused.contains("this line failed: ") && refused.contains("not_found"), "{refused}");
    let unset = fails("curl -s $suite/health/live?$id");
    assert!(unset.contains("id: unbound variable"), "{unset}");
    for said in [refused, unset] {
        assert!(said.contains("live") && !said.contains("not reached"), "{said}");
    }
}
