// swift-tools-version: 6.1
import Foundation
import PackageDescription

// wolfSSL comes from `.deps/wolfssl` when `scripts/setup` has built it there, and from the system otherwise. The archive
// is linked by its path: libcoap's pkg-config file puts the system's library folder first, and `-lwolfssl` would then
// silently take the system's library under the headers of the other one.
let builtWolfSSL = Context.packageDirectory + "/.deps/wolfssl"
let hasBuiltWolfSSL = FileManager.default.fileExists(atPath: builtWolfSSL + "/lib/libwolfssl.a")

let cWolfSSL: Target =
    hasBuiltWolfSSL
    ? .systemLibrary(name: "CWolfSSL")
    : .systemLibrary(name: "CWolfSSL", pkgConfig: "wolfssl", providers: [.apt(["libwolfssl-dev"])])
let wolfSSLHeaders: [SwiftSetting] =
    hasBuiltWolfSSL ? [.unsafeFlags(["-Xcc", "-I\(builtWolfSSL)/include"])] : []
let wolfSSLArchive: [LinkerSetting] =
    hasBuiltWolfSSL ? [.unsafeFlags(["\(builtWolfSSL)/lib/libwolfssl.a"])] : [.linkedLibrary("wolfssl")]

let package = Package(
    name: "bootgate",
    products: [
        .executable(name: "bootgate", targets: ["bootgate"]),
        .executable(name: "bootgate-simulator", targets: ["bootgate-simulator"]),
        .executable(name: "bootgate-simulator-gnutls", targets: ["bootgate-simulator-gnutls"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.36.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // C libraries: a module map and one shim header each.
        cWolfSSL,
        .systemLibrary(name: "CLinux"),
        // malloc of the command, where jemalloc is installed; the C library's elsewhere.
        .systemLibrary(name: "CAllocator", pkgConfig: "jemalloc", providers: [.apt(["libjemalloc-dev"])]),
        .systemLibrary(name: "CCoAP", pkgConfig: "libcoap-3-notls", providers: [.apt(["libcoap3-dev"])]),
        // The headers are those of all variants of the library; which one is linked is the program's choice.
        .systemLibrary(name: "CCoAPStack", providers: [.apt(["libcoap3-dev"])]),

        // Pure values and machines: no sockets, no clocks, no tasks.
        .target(name: "Timing"),
        .target(name: "Secrets"),
        .target(name: "DTLS", dependencies: ["CWolfSSL", "Secrets", "Timing"], linkerSettings: wolfSSLArchive),
        .target(name: "CoAP", dependencies: ["CCoAP", "Timing"]),
        .target(name: "LwM2M", dependencies: ["Secrets"]),

        // The data path, the stores behind it, and the command.
        .target(
            name: "Gateway",
            dependencies: [
                "CLinux", "DTLS", "CoAP", "LwM2M", "Secrets", "Timing",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
            ]
        ),
        .target(
            name: "Records",
            dependencies: [
                "CLinux", "Gateway", "LwM2M", "Secrets",
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "GRDBSQLite", package: "GRDB.swift"),
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
            ]
        ),
        // Apart from the data path, so that no HTTP can get into it.
        .target(
            name: "Publishing",
            dependencies: [
                "Gateway", "Secrets",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ]
        ),
        // What operators and their monitoring see of a running gateway.
        .target(
            name: "Admin",
            dependencies: [
                "Gateway", "DTLS", "LwM2M", "Records", "Secrets", "Timing",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]
        ),
        .executableTarget(
            name: "bootgate",
            dependencies: [
                "Admin", "Gateway", "Records", "Publishing", "LwM2M", "Secrets", "DTLS", "CoAP", "Timing", "CAllocator",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                .product(name: "Yams", package: "Yams"),
            ]
        ),
        .target(
            name: "Simulator",
            dependencies: [
                "CCoAPStack",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Crypto", package: "swift-crypto"),
            ]
        ),
        // One simulator on two DTLS libraries: two variants of libcoap cannot share a process.
        .executableTarget(
            name: "bootgate-simulator", dependencies: ["Simulator"],
            linkerSettings: [.linkedLibrary("coap-3-openssl")]
        ),
        .executableTarget(
            name: "bootgate-simulator-gnutls", dependencies: ["Simulator"],
            linkerSettings: [.linkedLibrary("coap-3-gnutls")]
        ),

        .testTarget(name: "TimingTests", dependencies: ["Timing"]),
        .testTarget(name: "SecretsTests", dependencies: ["Secrets"]),
        .testTarget(
            name: "DTLSTests",
            dependencies: ["DTLS", "Secrets", "Timing", .product(name: "Crypto", package: "swift-crypto")]
        ),
        .testTarget(name: "CoAPTests", dependencies: ["CoAP", "Timing"]),
        .testTarget(name: "LwM2MTests", dependencies: ["LwM2M", "Secrets"], resources: [.copy("Resources")]),
        .testTarget(
            name: "GatewayTests",
            dependencies: [
                "Gateway", "LwM2M", "Secrets", "CoAP", "DTLS", "Timing",
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
            ]
        ),
        .testTarget(
            name: "RecordsTests",
            dependencies: ["Records", "Gateway", "Secrets", .product(name: "GRDB", package: "GRDB.swift")]
        ),
        .testTarget(
            name: "PublishingTests",
            dependencies: [
                "Publishing", "Gateway", "Secrets",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ]
        ),
        .testTarget(
            name: "AdminTests",
            dependencies: [
                "Admin", "DTLS", "Gateway", "LwM2M", "Records", "Secrets",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
            ]
        ),
        .testTarget(
            name: "BootgateTests",
            dependencies: [
                "bootgate", "Admin", "Gateway", "Records", "LwM2M", "DTLS", "CoAP",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
            ]
        ),
        // What the fuzzer runs on its inputs, and the tests on the ones that are kept in `Fuzzing/Corpora`.
        .target(
            name: "FuzzEntries",
            dependencies: ["CoAP", "DTLS", "Gateway", "LwM2M", "Secrets", "Timing"],
            path: "Fuzzing/Entries"
        ),
        .testTarget(name: "FuzzTests", dependencies: ["FuzzEntries"]),
        // Starts the built programs; nothing of the simulator is linked, because two variants of libcoap cannot share a
        // process. Of the gateway only what a device with connection IDs is made of: no other client has them.
        .testTarget(
            name: "EndToEndTests", dependencies: ["CoAP", "DTLS", "Secrets", "Timing"],
            resources: [.copy("Resources")]
        ),
    ],
    swiftLanguageModes: [.v6]
)

// Programs that only `scripts/slow fuzz` and `scripts/benchmarks` build. The former says where the toolchain's fuzzer
// is: its variant without a `main`, because the package manager gives each program one.
let fuzzer = Context.environment["BOOTGATE_FUZZ"]
if let fuzzer {
    package.targets.append(
        .executableTarget(
            name: "bootgate-fuzz",
            dependencies: ["FuzzEntries"],
            path: "Fuzzing/Program",
            linkerSettings: [.unsafeFlags(["-sanitize=address", "-use-ld=lld", fuzzer]), .linkedLibrary("stdc++")]
        )
    )
}
// Coverage for the fuzzer and checked memory in all targets of ours; all that is checked in debug builds stays checked.
let instrumentation: [SwiftSetting] =
    fuzzer != nil ? [.unsafeFlags(["-sanitize=fuzzer,address", "-enforce-exclusivity=checked"])] : []
if Context.environment["BOOTGATE_BENCHMARKS"] != nil {
    package.targets += [
        .target(name: "CAllocations", path: "Benchmarks/CAllocations"),
        .executableTarget(
            name: "bootgate-benchmarks",
            dependencies: ["CAllocations", "CoAP", "DTLS", "Gateway", "LwM2M", "Secrets", "Timing"],
            path: "Benchmarks/Program"
        ),
    ]
}

// One set of rules for all targets of ours; `scripts/test` makes warnings errors.
// Exclusive access is checked at run time in debug builds, with which all tests run; checking each access of a class's
// property costs a release build 2 % of its time.
let strictness: [SwiftSetting] =
    Context.environment["BOOTGATE_STRICT"] == nil ? [] : [.unsafeFlags(["-warnings-as-errors"])]
for target in package.targets where target.type != .system {
    target.swiftSettings =
        (target.swiftSettings ?? []) + wolfSSLHeaders + strictness + [
            .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
            .enableUpcomingFeature("ExistentialAny"),
            .enableUpcomingFeature("InternalImportsByDefault"),
            .enableUpcomingFeature("MemberImportVisibility"),
            .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
        ] + instrumentation
}
