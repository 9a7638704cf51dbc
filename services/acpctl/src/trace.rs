//! `--trace`: the way of every call on the standard error output, step by step with its time.

use acp_client::CallTrace;
use serde_json::{Value, json};

use crate::{args::Format, error};

/// Tells of a call in the format that errors have.
pub(crate) fn say(format: Format, trace: &CallTrace) {
    match format {
        Format::Json => error::say(&json!({ "trace": as_value(trace) }).to_string()),
        Format::Table | Format::Yaml => error::say(&as_text(trace)),
    }
}

/// The steps as node, service, how and microseconds: the way, and then whoever answered.
fn steps(trace: &CallTrace) -> impl Iterator<Item = (&str, &str, &str, u64)> {
    let way = trace.way.iter().map(|hop| {
        let how = if trace.is_reused { "open" } else { hop.how.as_str() };
        (hop.node.as_str(), hop.service.as_str(), how, if trace.is_reused { 0 } else { hop.took_us })
    });
    let answered = trace.answered.iter().map(|who| (&*who.node, &*who.service, "answered", who.took_us));
    way.chain(answered)
}

fn total_us(trace: &CallTrace) -> u64 {
    u64::try_from(trace.total.as_micros()).unwrap_or(u64::MAX)
}

fn as_text(trace: &CallTrace) -> String {
    let mut text = format!("trace: {}\n", trace.method);
    for (node, service, how, us) in steps(trace) {
        text.push_str(&format!("  {node:<12} {service:<12} {how:<9} {}\n", millis(us)));
    }
    text.push_str(&format!("  {:<12} {:<12} {:<9} {}", "total", "", "", millis(total_us(trace))));
    text
}

/// With three digits after the point, which are the microseconds.
fn millis(us: u64) -> String {
    let (whole, rest) = (us / 1000, us % 1000);
    format!("{whole:>6}.{rest:03} ms")
}

fn as_value(trace: &CallTrace) -> Value {
    let steps = steps(trace).map(
        |(node, service, how, took_us)| json!({ "node": node, "service": service, "how": how, "took_us": took_us }),
    );
    json!({
        "method": trace.method,
        "steps": steps.collect::<Vec<_>>(),
        "total_us": total_us(trace),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use acp_client::{Trace, api::agent::Hop};

    use super::*;

    fn trace(is_reused: bool) -> CallTrace {
        let hop = |node: &str, service: &str, how: &str, took_us| {
            let (node, service, how) = (node.to_owned(), service.to_owned(), how.to_owned());
            Hop { node, service, how, took_us }
        };
        CallTrace {
            method: "acp.hypervisor.StartSystem",
            way: vec![hop("n2", "agent", "dialled", 8_042), hop("n2", "hypervisor", "socket", 95)],
            is_reused,
            answered: Some(Trace { node: "n2".into(), service: "hypervisor".into(), took_us: 1_200 }),
            total: Duration::from_micros(9_999),
        }
    }

    #[test]
    fn every_step_has_its_time() {
        let lines: Vec<_> = as_text(&trace(false)).lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "trace: acp.hypervisor.StartSystem");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert_eq!(
            lines[1..].iter().map(|line| words(line)).collect::<Vec<_>>(),
            [
                "n2 agent dialled 8.042 ms",
                "n2 hypervisor socket 0.095 ms",
                "n2 hypervisor answered 1.200 ms",
                "total 9.999 ms"
            ]
        );
    }

    #[test]
    fn steps_of_an_earlier_call_are_not_counted_again() {
        let seen = as_value(&trace(true));
        assert_eq!((&seen["steps"][0]["how"], &seen["steps"][0]["took_us"]), (&json!("open"), &json!(0)));
        assert_eq!((&seen["steps"][2]["took_us"], &seen["total_us"]), (&json!(1_200), &json!(9_999)));
    }
}
