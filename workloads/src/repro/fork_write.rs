//! `fork-write`: one thread stores, another forks, the first stores again: the plainest
//! copy-on-write.

use os::{Setup, User};

use crate::pthread::{Thread, Turn, Words};
use crate::{Params, Reproducer, Verdict};

/// See the module.
pub struct ForkWrite;

const FORK: u32 = 1;
const FORKED: u32 = 2;

impl Reproducer for ForkWrite {
    fn name(&self) -> &'static str {
        "fork-write"
    }

    fn about(&self) -> &'static str {
        "a thread stores, another forks, the first stores again: the child must keep the old value"
    }

    fn story(&self) -> &'static str {
        "After fork every page is shared and read-only; the first store makes a copy. The storing \
         thread's CPU still has a writable translation, so fork must flush it before it returns. \
         Without the flush (policy `never`) the second store goes straight into the page that the \
         child reads."
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[Verdict::of("fork-write", "")
                .kernel("v2.6.18")
                .sampled(1000)]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, _params: &Params) {
        setup.process("fork-write", 0, main);
    }
}

async fn main(user: User<'_>) -> i32 {
    let Ok(mut words) = Words::new(user).await else {
        return 2;
    };
    let Ok(page) = user.mmap(4096).await else {
        return 2;
    };
    let turn = Turn::new(&mut words);
    let word = words.word();
    let forker = Thread::spawn(user, word, "forker", |user| async move {
        turn.wait(user, FORK).await;
        let child = user
            .fork(|user| async move {
                user.sleep_us(100).await;
                let seen = user.load_u32(page).await;
                user.print(format!("child sees {seen}\n")).await;
                if seen != 1 {
                    user.check_failed(format!(
                        "the child was forked when the word was 1 and sees {seen}"
                    ));
                }
                0
            })
            .await;
        turn.give(user, FORKED).await;
        if let Ok(pid) = child {
            let _ = user.wait(Some(pid)).await;
        }
    })
    .await;
    let Ok(forker) = forker else { return 2 };
    user.store_u32(page, 1).await;
    turn.give(user, FORK).await;
    turn.wait(user, FORKED).await;
    user.store_u32(page, 2).await;
    forker.join(user).await;
    0
}
