module github.com/davit-engine/davit/third_party/libseccomp-golang/conformance

go 1.26.6

require (
	davit.invalid/seccomp v0.0.0
	github.com/moby/profiles/seccomp v0.3.0
	github.com/opencontainers/runtime-spec v1.3.0
	github.com/seccomp/libseccomp-golang v0.12.0
)

require golang.org/x/sys v0.33.0 // indirect

replace davit.invalid/seccomp => ../
