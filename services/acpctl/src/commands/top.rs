//! `acpctl top`: what the nodes and systems of the whole cluster use, as any node has heard it.

use acp_base::Failure;
use acp_wire_model::Kind;
use serde_json::{Value, json};

use crate::{
    args::TopArgs,
    output::{Column, Style},
    session::Session,
    view,
};

const NODES: &[Column] = &[
    Column("NODE", "/name", Style::Plain),
    Column("CPU", "/stats/cpu_percent", Style::Percent),
    Column("LOAD", "/stats/load_1", Style::Plain),
    Column("CPUS", "/status/cpus", Style::Plain),
    Column("MEMORY", "/status/memory_bytes", Style::Bytes),
    Column("AVAILABLE", "/stats/memory_available_bytes", Style::Bytes),
    Column("COMMITTED", "/stats/memory_committed_bytes", Style::Bytes),
    Column("REPORTER", "/reporter", Style::Plain),
    Column("AGE", "/age_ms", Style::Age),
];

const SYSTEMS: &[Column] = &[
    Column("SYSTEM", "/name", Style::Plain),
    Column("STATE", "/status/state", Style::State),
    Column("CPU", "/stats/cpu_percent", Style::Percent),
    Column("MEMORY", "/stats/memory_bytes", Style::Bytes),
    Column("OF", "/spec/memory_bytes", Style::Bytes),
    Column("REPORTER", "/reporter", Style::Plain),
    Column("AGE", "/age_ms", Style::Age),
];

/// What makes a terminal begin anew.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) async fn run(session: &mut Session, args: TopArgs) -> Result<u8, Failure> {
    loop {
        let (nodes, systems) = (busiest(session, Kind::Node).await?, busiest(session, Kind::System).await?);
        if session.out.is_for_people() {
            let (nodes, systems) = (session.out.table(&nodes, NODES), session.out.table(&systems, SYSTEMS));
            let clear = if args.every.is_some() { CLEAR } else { "" };
            session.out.writer().text(&format!("{clear}{nodes}\n{systems}"))?;
        } else {
            session.out.object(&json!({ "nodes": nodes, "systems": systems }))?;
        }
        let Some(every) = args.every else { return Ok(crate::DONE) };
        tokio::time::sleep(every.0).await;
    }
}

/// The objects of a kind, those first that use the processor most; the age is that of the measurements.
async fn busiest(session: &Session, kind: Kind) -> Result<Vec<Value>, Failure> {
    let objects = session.list(kind, Vec::new()).await?;
    let mut rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut row = view::of(object);
            row["age_ms"] = json!(object.stats().or_else(|| object.meta()).map(|slot| slot.age_ms));
            row
        })
        .collect();
    let cpu = |row: &Value| row["stats"]["cpu_percent"].as_f64().unwrap_or(-1.0);
    rows.sort_by(|one, other| cpu(other).total_cmp(&cpu(one)));
    Ok(rows)
}
