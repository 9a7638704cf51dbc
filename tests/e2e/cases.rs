//! Every case, in the order in which they run: those that end daemons or the node come last.

use crate::{
    bad_input, cli, console, domain, exits,
    harness::{Case, Cases, Place},
    images, life_cycle, limits, nodes, python, quick_start, quorum, soak, survive, volumes,
};

/// All cases.
pub(crate) fn all() -> Cases {
    let case = |name, run| Case { name, run };
    let mut cases = vec![
        case("life_cycle::create_start_reset_shut_down_delete", life_cycle::whole_life),
        case("life_cycle::stop_pulls_the_plug_and_says_so", life_cycle::stop),
        case("cli::lists_are_arrays_of_name_spec_status_age", cli::lists),
        case("cli::exit_codes_and_sentences", cli::exit_codes),
        case("cli::destroying_asks", cli::destroying_asks),
        case("console::a_terminal_with_several_readers", console::terminal),
        case("images::what_is_no_image_is_refused", images::garbage),
        case("images::a_backing_file_outside_is_refused", images::backing_outside),
        case("volumes::create_clone_expand_delete", volumes::whole_life),
        case("bad_input::every_method_refuses_unknown_keys", bad_input::unknown_keys),
        case("bad_input::wrong_types_and_unknown_methods", bad_input::wrong_types),
        case("bad_input::oversized_and_cut_off_messages", bad_input::oversized_and_cut_off),
        case("bad_input::names_and_sizes", bad_input::names_and_sizes),
        case("limits::a_start_that_lacks_memory", limits::lack_of_memory),
        case("python::the_reference_client_introspects_and_calls", python::reference_client),
        case("exits::the_guest_powers_off", exits::guest_poweroff),
    ];
    cases.extend(survive::all());
    cases.extend_from_slice(soak::CASES);
    cases.push(case("quick_start::up_twice_and_down", quick_start::up_and_down));
    cases.push(case("quick_start::a_lab_up_twice_and_down", quick_start::lab_up_and_down));
    Cases {
        node: cases,
        cluster: nodes::all().collect(),
        domains: domain::ROUTED.to_vec(),
        quorum: domain::CASES.iter().chain(soak::OF_A_CLUSTER).copied().chain(quorum::all()).collect(),
    }
}

/// Cases that promise something within a second or two.
const ALONE: [&str; 2] = ["survive::s1_", "survive::s2_"];

/// Cases for the second node: they wait for watchdogs and reconcilers, run machines of their own, or take long and bear a busy
/// machine.
const BESIDE: [&str; 4] = ["survive::s3_", "survive::s9_", "survive::s4_machines_", "survive::s5_"];

/// Where a case runs.
pub(crate) fn place(name: &str) -> Place {
    let is_one_of = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    if name.starts_with("quick_start::") {
        Place::Last
    } else if is_one_of(&ALONE) {
        Place::Alone
    } else if is_one_of(&BESIDE) {
        Place::Beside
    } else {
        Place::First
    }
}
