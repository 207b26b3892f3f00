internal import Foundation
internal import Testing

/// DTLS stacks that share no code with the gateway's: each shakes hands, asks for a bootstrap and gets the answer.
@Suite("Independent DTLS clients get in")
struct IndependentClientTests {
    @Test("OpenSSL's s_client, with the suite that every device has")
    func openSSL() async throws {
        try await Self.run { stage, gateway, sim in
            let client = try stage.start(
                "openssl s_client", "/usr/bin/openssl",
                [
                    "s_client", "-dtls1_2", "-connect", "\(gateway.address):\(gateway.securePort)", "-psk", sim.key,
                    "-psk_identity", sim.iccid, "-cipher", "PSK-AES128-CCM8:@SECLEVEL=0", "-quiet",
                ], input: Self.request(sim))
            let answer = await client.output.first(within: .seconds(20), takesUnfinished: true) {
                $0.utf8.starts(with: Self.answer)
            }
            #expect(answer != nil)
            try await gateway.record("bootstrap.forwarded", of: sim)
        }
    }

    @Test("libcoap's client on OpenSSL and on GnuTLS", arguments: ["openssl", "gnutls"])
    func libcoap(library: String) async throws {
        try await Self.run { stage, gateway, sim in
            let client = try stage.start(
                "coap-client-\(library)", "/usr/bin/coap-client-\(library)",
                [
                    "-m", "post", "-u", sim.iccid, "-k", sim.keyText, "-B", "10", "-v", "6",
                    "\(gateway.secure)/bs?ep=\(sim.iccid)",
                ])
            let answer = await client.output.first(within: .seconds(20), takesUnfinished: true) {
                $0.contains("t:ACK c:2.04")
            }
            #expect(answer != nil)
            try await gateway.record("bootstrap.forwarded", of: sim)
        }
    }

    @Test("tinydtls and mbedTLS", arguments: ["tinydtls", "mbedtls"])
    func python(library: String) async throws {
        try await Self.run { stage, gateway, sim in
            let answer = try await stage.run(
                "\(library) client", Programs.python,
                [
                    try Programs.resource("\(library)_client.py"), gateway.address, "\(gateway.securePort)", sim.iccid,
                    sim.key, hexadecimal(Self.request(sim)),
                ])
            #expect(answer.first?.hasPrefix(hexadecimal(Self.answer)) == true)
            try await gateway.record("bootstrap.forwarded", of: sim)
        }
    }

    private static func run(_ body: @Sendable (Stage, Gateway, SIM) async throws -> Void) async throws {
        try await Stage.run { stage in
            // Only the answer is asked for: these clients are no devices, and would not know what to do with writes.
            let (gateway, _, _) = try await stage.everything(bootstrapServer: ["--stop-after", "0"])
            try await body(stage, gateway, try await stage.addSIM(to: gateway))
        }
    }

    /// The acknowledgement of it with 2.04.
    private static let answer: [UInt8] = [0x64, 0x44, 0x12, 0x34, 1, 2, 3, 4]

    /// `POST /bs?ep=ICCID`, confirmable, message ID 0x1234, token 01020304.
    private static func request(_ sim: SIM) -> [UInt8] {
        let query = Array("ep=\(sim.iccid)".utf8)
        return [0x44, 0x02, 0x12, 0x34, 1, 2, 3, 4, 0xB2] + "bs".utf8 + [0x4D, UInt8(query.count - 13)] + query
    }
}

/// Whole bootstraps of devices whose DTLS, CoAP and content formats share no code with the gateway's.
@Suite("Independent devices bootstrap, in every format and block size")
struct IndependentDeviceTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let library: Stage.DTLSLibrary
        let format: String
        let blockSize: Int

        var testDescription: String {
            "libcoap on \(self.library.rawValue), \(self.format), blocks of \(self.blockSize)"
        }

        static let formats = ["tlv", "senml-json", "senml-cbor"]

        static let all = Stage.DTLSLibrary.allCases.flatMap { library in
            Self.formats.flatMap { format in
                [16, 32, 64, 128, 256, 512, 1024].map { Case(library: library, format: format, blockSize: $0) }
            }
        }
    }

    @Test("Over DTLS, accounts and settings arrive as they were meant", arguments: Case.all)
    func bootstrap(_ test: Case) async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything(
                bootstrapServer: ["--format", test.format, "--block-size", "\(test.blockSize)"],
                blocks: (upstream: test.blockSize, device: test.blockSize))
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only"], on: test.library)
            #expect(try await device.exit(within: .seconds(60)) == 0)
            #expect(try await device.event("started").text("dtls") == test.library.rawValue)

            let accounts = device.output.events("account")
            let server = try #require(accounts.first { $0.boolean("bootstrap") == false })
            #expect(server.text("uri") == gateway.secure && server.integer("mode") == 0)
            #expect(server.integer("ssid") == 1111 && server.integer("keyBytes") == 16)
            let back = try #require(accounts.first { $0.boolean("bootstrap") == true })
            #expect(back.text("uri") == gateway.secure && back.text("identity") == sim.iccid)
            #expect(back.integer("ssid") == 2222)
            let settings = try #require(device.output.events("server").first)
            #expect(settings.integer("ssid") == 1111 && settings.integer("lifetime") == 86400)
            try await bootstrap.program.event("finished") { $0.text("endpoint") == sim.iccid }
            try await gateway.record("bootstrap.finished", of: sim)
        }
    }
}
