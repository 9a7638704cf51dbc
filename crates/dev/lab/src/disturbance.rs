//! What is wrong with the network, as a value, and as nftables rules of one node.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    str::FromStr,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    fabric::LINK,
    member::{Member, MemberName},
};

/// The table of the rules, in each node's namespace.
const TABLE: &str = "inet acp-lab";

/// How much of a node's traffic is lost, each way on its own, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Loss(u8);

impl FromStr for Loss {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.trim_end_matches('%').parse() {
            Ok(percent @ 1..=99) => Ok(Self(percent)),
            _ => bail!("{text:?} is no share; say 1% to 99%, or silence the node"),
        }
    }
}

/// Everything that is wrong with a lab's network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disturbances {
    /// Pairs (from, to) whose packets do not arrive.
    pub(crate) cuts: BTreeSet<(MemberName, MemberName)>,
    /// Pairs (from, to) whose multicast does not arrive, as behind a switch that drops it.
    #[serde(default)]
    pub(crate) deaf: BTreeSet<(MemberName, MemberName)>,
    /// Nodes that lose packets.
    pub(crate) losses: BTreeMap<MemberName, Loss>,
    /// Nodes whose packets neither leave nor arrive. Nothing tells them, unlike a link that goes down.
    pub(crate) silent: BTreeSet<MemberName>,
}

/// Reads who may not talk to whom: groups as in `n1|n2,n3`, or one way as in `n1>n2,n3` (what `n1` says does not arrive).
pub fn parse_cut(text: &str, all: &[MemberName]) -> Result<BTreeSet<(MemberName, MemberName)>> {
    let group = |text: &str| -> Result<Vec<MemberName>> {
        text.split(',')
            .map(|name| {
                let name: MemberName = name.parse()?;
                if all.contains(&name) { Ok(name) } else { bail!("there is no {name} in this lab") }
            })
            .collect()
    };
    if let Some((from, to)) = text.split_once('>') {
        return Ok(pairs(&group(from)?, &group(to)?).collect());
    }
    let groups: Vec<Vec<MemberName>> = text.split('|').map(group).collect::<Result<_>>()?;
    if groups.len() < 2 {
        bail!("{text:?} cuts nothing: say for example 'n1|n2,n3' or 'n1>n2'");
    }
    let mut cuts = BTreeSet::new();
    for (number, one) in groups.iter().enumerate() {
        for other in groups.iter().skip(number + 1) {
            cuts.extend(pairs(one, other).chain(pairs(other, one)));
        }
    }
    if cuts.iter().any(|(from, to)| from == to) {
        bail!("{text:?} cuts a node off itself");
    }
    Ok(cuts)
}

fn pairs(from: &[MemberName], to: &[MemberName]) -> impl Iterator<Item = (MemberName, MemberName)> {
    from.iter().flat_map(move |from| to.iter().map(move |to| (*from, *to)))
}

impl Disturbances {
    /// The rules of one node, as a document for `nft -f` that replaces those before. Packets are dropped where they arrive,
    /// as on a broken wire: the sender sees nothing of it.
    pub(crate) fn rules(&self, member: &Member, all: &[Member]) -> Result<String> {
        let mut input = String::new();
        for (pairs, what) in [(&self.cuts, ""), (&self.deaf, "ip daddr 224.0.0.0/4 ")] {
            for (from, _) in pairs.iter().filter(|(_, to)| *to == member.name) {
                let from = all.iter().find(|other| other.name == *from).context("a cut from a node that is there")?;
                writeln!(input, "    iifname {LINK} ip saddr {} {what}drop", from.address())?;
            }
        }
        let mut both = String::new();
        if self.silent.contains(&member.name) {
            both.push_str("drop");
        } else if let Some(Loss(percent)) = self.losses.get(&member.name) {
            write!(both, "numgen random mod 100 < {percent} drop")?;
        }
        let rule =
            |direction: &str| if both.is_empty() { String::new() } else { format!("    {direction} {LINK} {both}\n") };
        Ok(format!(
            "table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n  chain input {{\n    type filter hook input priority -300\n\
             {input}{}  }}\n  chain output {{\n    type filter hook output priority -300\n{}  }}\n}}\n",
            rule("iifname"),
            rule("oifname"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(numbers: impl IntoIterator<Item = u8>) -> Vec<MemberName> {
        numbers.into_iter().map(MemberName::number).collect()
    }

    fn cut(text: &str) -> Vec<String> {
        let cuts = parse_cut(text, &names(1..=5)).expect("understood");
        cuts.iter().map(|(from, to)| format!("{from}>{to}")).collect()
    }

    #[test]
    fn groups_and_one_way_cuts_are_read() {
        assert_eq!(cut("n1|n2,n3"), ["n1>n2", "n1>n3", "n2>n1", "n3>n1"]);
        assert_eq!(cut("n1>n2"), ["n1>n2"]);
        assert_eq!(cut("n1|n2|n3").len(), 6);
        for bad in ["n1", "n1|", "n1|n9", "n1|n1", "", "all"] {
            assert!(parse_cut(bad, &names(1..=5)).is_err(), "{bad:?} was understood");
        }
    }

    #[test]
    fn rules_name_what_does_not_arrive() {
        let dir = std::env::temp_dir();
        let all: Vec<Member> = names(1..=2)
            .into_iter()
            .map(|name| Member::new(&dir.join("acp-lab-rules"), &dir, name, 1).expect("a directory"))
            .collect();
        let disturbances = Disturbances {
            cuts: parse_cut("n1>n2", &names(1..=2)).expect("understood"),
            deaf: parse_cut("n2>n1", &names(1..=2)).expect("understood"),
            losses: BTreeMap::from([(MemberName::number(1), "10%".parse().expect("a share"))]),
            silent: BTreeSet::new(),
        };
        let first = disturbances.rules(&all[0], &all).expect("rules");
        assert!(
            first.contains("iifname lab0 numgen random mod 100 < 10 drop") && !first.contains("10.200.1.2 drop"),
            "{first}"
        );
        assert!(first.contains("ip saddr 10.200.1.2 ip daddr 224.0.0.0/4 drop"), "{first}");
        let second = disturbances.rules(&all[1], &all).expect("rules");
        assert!(second.contains("ip saddr 10.200.1.1 drop") && !second.contains("numgen"), "{second}");
        std::fs::remove_dir_all(dir.join("acp-lab-rules")).expect("ours");
    }
}
