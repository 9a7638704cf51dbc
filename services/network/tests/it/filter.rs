//! The one nftables table.

use acp_dev_wait::{seen, wait_for_async};

use crate::harness::{LIMIT, on_node, run};

fn ruleset() -> String {
    run("nft", &["list", "ruleset"])
}

async fn wait_ruleset(is_wanted: impl Fn(&String) -> bool) {
    wait_for_async("the ruleset", LIMIT, async || seen(ruleset(), &is_wanted)).await.expect("it is set");
}

#[test]
fn the_table_holds_every_network_and_no_other_table_is_touched() {
    on_node(|node| async move {
        run("nft", &["add", "table", "inet", "mine"]);
        node.create("lan", "10.77.0.1/24").await.expect("it comes up");
        node.create("inner", "10.78.0.1/24").await.expect("it comes up");
        let rules = ruleset();
        for subnet in ["10.77.0.0/24", "10.78.0.0/24"] {
            assert_eq!(rules.matches(&format!("ip saddr {subnet}")).count(), 1, "{rules}");
        }
        assert_eq!(rules.matches("masquerade").count(), 2, "{rules}");
        node.delete("lan").await.expect("nobody uses it");
        wait_ruleset(|rules| !rules.contains("10.77.0.0") && rules.contains("10.78.0.0")).await;
        node.delete("inner").await.expect("nobody uses it");
        wait_ruleset(|rules| !rules.contains("table inet acp") && rules.contains("table inet mine")).await;
    });
}

#[test]
fn a_table_changed_behind_our_back_is_set_again() {
    on_node(|node| async move {
        node.create("lan", "10.77.0.1/24").await.expect("it comes up");
        run("nft", &["flush", "chain", "inet", "acp", "postrouting"]);
        wait_ruleset(|rules| rules.contains("masquerade")).await;
        run("nft", &["delete", "table", "inet", "acp"]);
        wait_ruleset(|rules| rules.contains("masquerade")).await;
    });
}
