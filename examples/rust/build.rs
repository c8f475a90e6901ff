//! Generates the stubs from the protos; needs protoc.

use std::{env, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("plaudit.binpb");
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .file_descriptor_set_path(descriptors)
        .compile_protos(
            &[
                "../../proto/plaudit/v1/feedback_service.proto",
                "../../proto/plaudit/v1/analytics_service.proto",
                "../../proto/plaudit/v1/definition_service.proto",
            ],
            &["../../proto", "../../third_party"],
        )?;
    Ok(())
}
