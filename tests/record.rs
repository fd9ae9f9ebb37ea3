//! The record: every verdict of the catalogue, as `shootdown verdicts --quick` judges it, and what the
//! original programs printed.

use shootdown::verdicts::Verdicts;
use shootdown::workloads::CATALOGUE;
use shootdown::{Registry, Report, Run};

fn each_seed(run: &Run, seeds: u64, mut look: impl FnMut(u64, Report)) {
    run.session(|session| {
        for seed in 1..=seeds {
            look(seed, session.run(seed));
        }
    })
    .expect("the configuration is whole");
}

/// Every row, with the bounds of a quick look.
#[test]
fn every_verdict_of_the_catalogue_holds() {
    let rows = CATALOGUE.iter().flat_map(|it| it.verdicts());
    let names: Vec<String> = rows.map(|it| it.row.to_string()).collect();
    let all = Verdicts::select(&Registry::standard(), &names).expect("they are listed");
    let judged = all.quick(true).run(&mut |_, _| {}).expect("they run");
    let wrong: Vec<_> = judged.iter().filter(|it| !it.ok).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

const FAILING_READ: &str = "0 - 3583: 0\n3584 - 4095: 42\n";
const CHILD: &str = "0 - 4095: 0\n4096 - 8191: 42\n";
const PARENT: &str = "0 - 3583: 0\n3584 - 4095: 42\n4096 - 8191: 0\n";

#[test]
fn forkscrew_prints_what_the_original_printed_on_every_seed() {
    let expected = format!(
        "worker 0 failed check\n{FAILING_READ}child dumping buffer:\n{CHILD}\
         parent dumping full buffer\n{PARENT}"
    );
    each_seed(
        &Run::of("forkscrew").expect("listed"),
        1000,
        |seed, report| {
            assert_eq!(report.stdout, expected, "seed {seed}");
            assert_eq!(report.exit, Some(1), "seed {seed}");
        },
    );
}

#[test]
fn with_the_recheck_the_child_keeps_what_it_had_at_fork() {
    let run = Run::of("forkscrew")
        .expect("listed")
        .fix("B02")
        .expect("a row");
    each_seed(&run, 1000, |seed, report| {
        assert!(report.is_clean(), "seed {seed}: {report}");
        assert_eq!(
            report.stdout, "child dumping buffer:\n0 - 8191: 42\n",
            "seed {seed}"
        );
        assert_eq!(report.exit, Some(0), "seed {seed}");
    });
}

/// The child has no buffer to dump: it faults, and nothing is lost.
#[test]
fn skipping_the_buffer_at_fork_fails_no_check() {
    let run = Run::of("forkscrew")
        .expect("listed")
        .fix("B10")
        .expect("a row");
    each_seed(&run, 100, |seed, report| {
        assert!(report.is_clean(), "seed {seed}: {report}");
        assert_eq!(report.stdout, "child dumping buffer:\n", "seed {seed}");
    });
}

/// A02 and A03: the head of a page is lost more often than its tail, and both are.
#[test]
fn dma_thread_loses_heads_more_often_than_tails() {
    let run = Run::of("dma-thread")
        .expect("listed")
        .set("align", "512")
        .expect("a parameter");
    let (mut heads, mut tails, mut early) = (0, 0, 0);
    each_seed(&run, 1000, |seed, report| {
        heads += u32::from(report.stdout.contains("Bad data at 0x000e00"));
        tails += u32::from(report.stdout.contains("Bad data at 0x000000"));
        early += u32::from(seed <= 20 && !report.is_clean());
    });
    assert!(early > 0, "nothing in the first 20 seeds");
    assert!(tails > 0, "no tail was lost; {heads} heads");
    assert!(heads > tails, "{heads} heads, {tails} tails");
}

#[test]
fn the_childs_bytes_reach_the_parents_file() {
    let report = Run::of("forkscrew-reverse")
        .expect("listed")
        .run()
        .expect("runs");
    let order = [
        "thread writing\n",
        "parent storing\n",
        "child storing\n",
        "thread writing done\n",
    ];
    assert_eq!(report.stdout, order.concat());
    let found = report
        .violations
        .iter()
        .find(|it| it.oracle == "file-image");
    let message = &found.expect("file-image fires").message;
    assert!(
        message.contains("0xff") && message.contains("process 2"),
        "{message}"
    );
}

#[test]
fn a_slot_of_sevens_shows_within_a_hundred_seeds() {
    let mut sevens = 0;
    each_seed(&Run::of("vendor-512").expect("listed"), 100, |_, report| {
        sevens += u32::from(report.stdout.contains("pattern 7"));
    });
    assert!(sevens > 0);
}

#[test]
fn without_flushes_a_stale_translation_is_used() {
    let run = Run::of("fork-write")
        .expect("listed")
        .flush("never")
        .expect("a policy");
    let report = run.run().expect("runs");
    assert!(
        report
            .violations
            .iter()
            .any(|it| it.oracle == "tlb-coherence"),
        "{report}"
    );
}

/// The same choices on another number of CPUs, and by another chooser, are the same run again.
#[test]
fn a_reset_run_is_the_run_of_a_new_machine() {
    for chooser in ["timed", "random"] {
        for cpus in [1, 4, 64] {
            let run = || {
                Run::of("forkscrew")
                    .expect("listed")
                    .cpus(cpus)
                    .chooser(chooser)
            };
            let run = run().expect("a chooser");
            let alone: Vec<_> = (1..4)
                .map(|seed| run.clone().seed(seed).run().expect("runs").digest)
                .collect();
            let mut again = Vec::new();
            each_seed(&run, 3, |_, report| again.push(report.digest));
            assert_eq!(alone, again, "{chooser} on {cpus} CPUs");
        }
    }
}
