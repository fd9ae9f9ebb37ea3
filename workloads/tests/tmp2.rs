use emu::{Costs, Size};
use os::{Config, Kernel};
use workloads::{CATALOGUE, Params};
#[test]
fn t() {
    let r = *CATALOGUE.iter().find(|r| r.name() == "lost-update").unwrap();
    let params = Params::defaults(r);
    let k = Kernel::new(Config { costs: Costs::preset("skylake-2s").unwrap(), size: Size { cpus: 2, frames: 256 }, patches: vec![], flush: os::flush::ALL[0] });
    k.prepare(|s| r.prepare(s, &params));
    for random in [false, true] {
        k.machine.set_chooser(random.then(|| Box::new(emu::choose::RandomChooser::new(1)) as _));
        let t = std::time::Instant::now();
        let mut fail = 0; let mut steps = 0;
        for seed in 0..100000 { k.run(seed); fail += k.machine.violations().len(); steps += k.machine.steps(); }
        println!("random {random}: {:?} fail {fail} steps/run {}", t.elapsed() / 100000, steps/100000);
    }
    let t = std::time::Instant::now();
    let k = Kernel::new(Config { costs: Costs::preset("skylake-2s").unwrap(), size: Size { cpus: 512, frames: 1<<24 }, patches: vec![], flush: os::flush::ALL[0] });
    k.prepare(|s| r.prepare(s, &params));
    println!("512 cpu new {:?}", t.elapsed());
    k.run(1);
    println!("512 cpu run {:?}", t.elapsed());
    let r = *CATALOGUE.iter().find(|r| r.name() == "dma-thread").unwrap();
    let mut params = Params::defaults(r);
    for (a,b) in [("files","100"),("file_kib","12288"),("read_kib","1024"),("workers","40"),("align","0")] { params.set(r,a,b).unwrap(); }
    let k = Kernel::new(Config { costs: Costs::preset("skylake-2s").unwrap(), size: Size { cpus: 4, frames: 1<<16 }, patches: vec![], flush: os::flush::ALL[0] });
    k.prepare(|s| r.prepare(s, &params));
    let t = std::time::Instant::now();
    let stop = k.run(1);
    println!("dma original {:?} steps {} {stop:?} {:?} {:?}", t.elapsed(), k.machine.steps(), k.counters(), k.exit_status());
}
