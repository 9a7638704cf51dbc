//! What a publication must be to be taken. Nothing here changes anything.

use std::collections::BTreeMap;

use acp_base::Code;
use acp_wire_model::Kind;
use serde_json::Value;

use super::{Publication, SlotReport, Slots, Totals};
use crate::{
    json::Json,
    limits::{
        REPORTED_MAX, REPORTED_NAME_BYTES_MAX, REPORTERS_MAX, REPORTS_MAX, SLOT_BYTES_MAX, SLOT_DEPTH_MAX, SLOTS_MAX,
    },
    refusal::{Refusal, with_article},
    state::State,
};

impl Slots {
    pub(super) fn check_order(&self, reporter: &str, publication: &Publication) -> Result<(), Refusal> {
        let Some(known) = self.reporters.get(reporter) else {
            if self.reporters.len() >= REPORTERS_MAX {
                return Err(Refusal::exhausted(format!("{REPORTERS_MAX} reporters are known, the most there can be")));
            }
            return Ok(());
        };
        if known.origin.is_some() {
            return Ok(());
        }
        let (incarnation, sequence) = (publication.incarnation, publication.sequence);
        if incarnation < known.incarnation {
            let newer = known.incarnation;
            let message = format!("incarnation {incarnation} of {reporter} is over: {newer} has published since");
            return Err(Refusal::new(Code::Conflict, message));
        }
        if incarnation == known.incarnation && sequence <= known.sequence {
            let newest = known.sequence;
            let message = format!("publication {sequence} of {reporter} is not above {newest}, the last one received");
            return Err(Refusal::new(Code::Conflict, message));
        }
        Ok(())
    }

    /// Checks every report and answers its value as text.
    pub(super) fn check_reports(&self, state: &State, publication: &Publication) -> Result<Vec<Option<Json>>, Refusal> {
        let count = publication.reports.len();
        if count > REPORTS_MAX {
            return Err(Refusal::invalid(format!(
                "{count} reports in one publication; at most {REPORTS_MAX} are taken"
            )));
        }
        let mut kinds = BTreeMap::new();
        let mut values = Vec::with_capacity(count);
        for (position, report) in publication.reports.iter().enumerate() {
            let first = *kinds.entry(report.uid).or_insert(report.kind);
            let value = self.check_report(state, report, first);
            values.push(value.map_err(|refusal| refusal.at(format!("reports[{position}]")))?);
        }
        Ok(values)
    }

    fn check_report(&self, state: &State, report: &SlotReport, first: Kind) -> Result<Option<Json>, Refusal> {
        let (kind, uid) = (report.kind, report.uid);
        let held = self.holders.get(&uid).map_or(first, |holder| holder.kind);
        if held != kind {
            return Err(Refusal::invalid(format!(
                "the object {uid} is {}, not {}",
                with_article(held),
                with_article(kind)
            )));
        }
        if !kind.is_declared() {
            if state.is_spent(uid) {
                return Err(Refusal::invalid(format!("the uid {uid} belongs to a declared object")));
            }
            check_name(report)?;
        }
        match &report.data {
            None => Ok(None),
            Some(data @ Value::Object(_)) if is_deeper(data, SLOT_DEPTH_MAX) => {
                Err(Refusal::invalid(format!("data is nested too deep; a slot's value has {SLOT_DEPTH_MAX} levels")))
            }
            Some(data @ Value::Object(_)) => {
                let value = Json::new(data);
                let bytes = value.text().len();
                if bytes > SLOT_BYTES_MAX {
                    return Err(Refusal::invalid(format!("data has {bytes} bytes; a slot holds {SLOT_BYTES_MAX}")));
                }
                Ok(Some(value))
            }
            Some(_) => Err(Refusal::invalid("data is no object")),
        }
    }

    pub(super) fn check_room(
        &self,
        reporter: &str,
        publication: &Publication,
        values: &[Option<Json>],
    ) -> Result<(), Refusal> {
        let Totals { slots, bytes, reported } = self.own;
        let given = || publication.reports.iter().filter(|report| report.data.is_some());
        let own = self.reporters.get(reporter);
        let (freed, freed_bytes) =
            own.filter(|_| publication.replace).map_or((0, 0), |own| (own.slots.len(), own.bytes));
        let is_new = |report: &&SlotReport| {
            publication.replace || own.is_none_or(|own| !own.slots.contains(&(report.uid, report.facet)))
        };
        let count = slots - freed + given().filter(is_new).count();
        let bytes = bytes - freed_bytes + values.iter().flatten().map(|value| value.text().len()).sum::<usize>();
        let born = given().filter(|report| !report.kind.is_declared() && !self.holders.contains_key(&report.uid));
        let reported = reported + born.count();
        for (what, needed, most) in [
            ("slots", count, SLOTS_MAX),
            ("bytes of slots", bytes, self.bytes_max),
            ("reported objects", reported, REPORTED_MAX),
        ] {
            if needed > most {
                return Err(Refusal::exhausted(format!(
                    "this replica would hold {needed} {what}; it holds at most {most}"
                )));
            }
        }
        Ok(())
    }
}

/// Whether lists and maps lie in each other in more than so many levels.
pub(super) fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => levels == 0 || values.iter().any(|value| is_deeper(value, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|value| is_deeper(value, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A reported object needs a name when it is said; taking it back does not.
fn check_name(report: &SlotReport) -> Result<(), Refusal> {
    if report.data.is_none() { Ok(()) } else { check_reported_name(report.kind, report.name.as_deref()) }
}

/// What a reported object may be called.
pub(super) fn check_reported_name(kind: Kind, name: Option<&str>) -> Result<(), Refusal> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(Refusal::invalid(format!("{} needs a name", with_article(kind))));
    };
    if name.len() > REPORTED_NAME_BYTES_MAX {
        let found = name.len();
        return Err(Refusal::invalid(format!("name has {found} bytes; at most {REPORTED_NAME_BYTES_MAX} are taken")));
    }
    if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Refusal::invalid("name holds blanks or control characters"));
    }
    Ok(())
}
