//! The program: all of it is in the library, so that what reads hostile input can be fuzzed.

fn main() -> std::process::ExitCode {
    raftexample::main()
}
