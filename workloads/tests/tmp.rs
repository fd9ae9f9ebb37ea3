use emu::{Costs, Size};
use os::{Config, Kernel};
use workloads::{CATALOGUE, Params};

fn patches(row: &str, kernel: &str) -> Vec<&'static dyn os::Patch> {
    let base = os::fixes::KERNELS.iter().find(|k| k.name == kernel).unwrap();
    let row = os::fixes::ROWS.iter().find(|r| r.id == row);
    base.patches.iter().chain(row.map_or(&[][..], |r| r.patches)).map(|n| os::fixes::patch(n).unwrap()).collect()
}

fn go(name: &str, kernel: &str, row: &str, set: &[(&str, u64)], seeds: std::ops::RangeInclusive<u64>, show: bool) {
    let r = *CATALOGUE.iter().find(|r| r.name() == name).unwrap();
    let mut params = Params::defaults(r);
    for (k, v) in set { params.set(r, k, &v.to_string()).unwrap(); }
    let flush = if row == "never" { os::flush::ALL[1] } else { os::flush::ALL[0] };
    let kernel_ = Kernel::new(Config { costs: Costs::preset("skylake-2s").unwrap(), size: Size { cpus: r.cpus(), frames: (r.memory_mib(&params) * 256) as u32 }, patches: patches(row, kernel), flush });
    kernel_.prepare(|s| r.prepare(s, &params));
    let mut words = std::collections::BTreeMap::new();
    let total = seeds.clone().count();
    let (mut failing, mut steps) = (0, 0);
    let t = std::time::Instant::now();
    for seed in seeds {
        let stop = kernel_.run(seed);
        steps += kernel_.machine.steps();
        assert_eq!(stop, emu::Stop::Finished, "{name} seed {seed} {:?}", kernel_.machine.violations());
        let mut w: Vec<_> = kernel_.machine.violations().iter().map(|v| format!("{}:{}", v.oracle, v.word)).collect();
        w.sort(); w.dedup();
        failing += usize::from(!w.is_empty());
        for w in w { *words.entry(w).or_insert(0) += 1; }
        let text = kernel_.console();
        for l in text.lines().filter(|l| l.contains("Bad data")) { *words.entry(l[..20].to_string()).or_insert(0) += 1; }
        if show { println!("{}exit {:?} steps {} cycles {} {:?}", kernel_.console(), kernel_.exit_status(), kernel_.machine.steps(), kernel_.machine.now(), kernel_.counters());
           for v in kernel_.machine.violations().iter().take(6) { println!("  {v}"); } }
    }
    println!("{name} {kernel} {row} {set:?}: {failing}/{total} {words:?} steps/run {} {:?}", steps / total as u64, t.elapsed());
}

#[test]
fn t() {
    let n: u64 = std::env::var("SEEDS").map_or(20, |s| s.parse().unwrap());
    go("forkscrew", "v2.6.18", "", &[], 1..=1, true);
    go("forkscrew", "v2.6.29", "B02", &[], 1..=1, true);
    go("forkscrew", "v2.6.18", "", &[("dontfork", 1)], 1..=1, true);
    go("fork-write", "v2.6.18", "", &[], 1..=n, false);
    go("fork-write", "v2.6.18", "never", &[], 1..=1, true);
    go("lost-update", "v2.6.18", "", &[], 1..=n, false);
    go("forkscrew", "v2.6.18", "", &[], 1..=n, false);
    go("forkscrew", "v2.6.29", "B02", &[], 1..=n, false);
    go("forkscrew", "v2.6.18", "A41", &[], 1..=n, false);
    go("forkscrew", "v2.6.29", "A52", &[], 1..=n, false);
    go("dma-thread", "v2.6.18", "", &[], 1..=1, true);
    go("dma-thread", "v2.6.18", "", &[], 1..=n, false);
    go("dma-thread", "v2.6.18", "", &[("align", 0)], 1..=n, false);
    go("dma-thread", "v2.6.29", "B02", &[], 1..=n, false);
    go("dma-thread", "v2.6.29", "B01", &[], 1..=n, false);
    go("vendor-512", "v2.6.18", "", &[], 1..=n, false);
    go("vendor-512", "v2.6.29", "B02", &[], 1..=n, false);
    go("forkscrew-reverse", "v2.6.18", "", &[], 1..=1, true);
}
