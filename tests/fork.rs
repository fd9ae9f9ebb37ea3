//! Rows on fork's copies: each gives what the record says, and its pair, which has the next fix or
//! lacks the last one, gives the opposite.

use shootdown::Registry;
use shootdown::verdicts::Verdicts;

/// Rows, with their sub-rows.
fn hold(names: &[&str]) {
    let names: Vec<String> = names.iter().map(|it| it.to_string()).collect();
    let rows = Verdicts::select(&Registry::standard(), &names).expect("rows of the record");
    let judged = rows.quick(true).run(&mut |_, _| {}).expect("whole");
    for row in judged {
        assert!(row.ok, "{row:?}");
    }
}

#[test]
fn fork_sleeps_for_memory_only_with_its_page_tables_unmapped() {
    hold(&["A46", "A47", "A49"]);
}

#[test]
fn fork_fails_where_it_may_not_reclaim_and_leaks_where_it_does_not_undo() {
    hold(&["A48", "B26"]);
}

#[test]
fn the_mark_makes_fork_a_few_percent_dearer_and_copies_nothing_that_is_not_pinned() {
    hold(&["A54"]);
}

#[test]
fn segments_that_share_a_page_hold_it_once_each() {
    hold(&["A53"]);
}

#[test]
fn a_copy_made_after_sharing_needs_a_second_try_and_no_second_look_of_the_pin() {
    hold(&["B13", "B14", "B18", "B02.fault"]);
}

#[test]
fn a_mapping_copied_by_advice_is_whole_where_the_flush_comes_first() {
    hold(&["B11"]);
}

#[test]
fn a_count_at_the_root_copies_what_nobody_pinned_and_forgets() {
    hold(&["B53"]);
}

#[test]
fn one_direction_of_copy_on_write_does_not_suit_two_pins() {
    hold(&["B06", "B07"]);
}

#[test]
fn a_mapping_marked_by_its_first_pin_is_copied_whole_torn_and_leaked() {
    hold(&["B12"]);
}

#[test]
fn pages_that_are_not_anonymous_are_pinned_without_a_lock_where_only_others_are_unshared() {
    hold(&["B50.zero", "B52"]);
}

#[test]
fn a_child_that_stores_first_and_a_read_that_is_over_lose_nothing() {
    hold(&["A02", "A03", "A05"]);
}

#[test]
fn forkscrew_is_cured_by_copies_and_by_a_lock_that_outlasts_the_call() {
    hold(&["A07"]);
}

#[test]
fn merging_looks_for_pins_after_the_flush() {
    hold(&["B41"]);
}

#[test]
fn a_pinned_page_that_loses_its_permission_keeps_its_bytes_only_where_clearing_spares_it() {
    hold(&["U11.soft-dirty", "U12.soft-dirty", "U12.soft-dirty-fast"]);
}

#[test]
fn a_debugger_changes_its_process_alone_and_looks_without_a_copy() {
    hold(&["poke", "A40.forced", "B52.peek", "U10.peek"]);
}

#[test]
fn a_lock_that_fork_forgets_stops_the_next_store() {
    hold(&["B26", "B02.huge-file"]);
}
