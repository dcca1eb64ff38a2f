//! `signet login`, `signet logout`: `signet-login` does the work.

use signet_login::{Answer, Login, LoginError, Logout};

use super::{Ended, Output};

pub(super) async fn login(command: Login, output: &Output) -> anyhow::Result<()> {
    print(command.run(&|text| output.note(text)).await, output)
}

pub(super) async fn logout(command: Logout, output: &Output) -> anyhow::Result<()> {
    print(command.run().await, output)
}

fn print(answer: Result<Answer, LoginError>, output: &Output) -> anyhow::Result<()> {
    match answer {
        Ok(answer) => output.value(&answer, Answer::text),
        Err(LoginError::Usage(text)) => Err(Ended::Usage(text).into()),
        Err(error) => Err(error.into()),
    }
}
