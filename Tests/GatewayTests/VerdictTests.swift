import CoAP
import LwM2M
import Secrets
import Testing

@testable import Gateway

@Suite("Log-and-audit mode lets through what enforce refuses, and says why")
struct VerdictTests {
    private static let audit = GatewayConfiguration.Mode.audit(keepDevices: true)

    private func verdict(
        _ record: SIMRecord, query: [String] = ["ep=meter-1"], arrival: GatewayConfiguration.Security = .dtls,
        mode: GatewayConfiguration.Mode = audit, isConfirmable: Bool = true
    ) -> Verdict {
        Gate.verdict(
            on: CoAPRequest(.post, path: ["bs"], query: query, isConfirmable: isConfirmable), record: record,
            arrival: arrival, mode: mode
        )
    }

    @Test("In enforce the verdict is the decision of the gate")
    func enforce() throws {
        let record = try BootstrapScript.record()
        #expect(self.verdict(record, mode: .enforce) == .forward(endpoint: "meter-1", query: ["ep=meter-1"]))
        #expect(self.verdict(record, query: ["ep=other"], mode: .enforce) == .refuse(.endpointMismatch))
        #expect(
            self.verdict(try BootstrapScript.record(status: .suspended), mode: .enforce) == .refuse(.suspended))
    }

    @Test("Each cause that can be let through is, with the query as the device sent it")
    func letThrough() throws {
        let query = ["ep=meter-1", "pct=40", "b=U"]
        #expect(
            self.verdict(try BootstrapScript.record(), query: query)
                == .watch(endpoint: "meter-1", query: query, would: .unsupported))
        for (status, cause) in [(SIMRecord.Status.suspended, FailureCause.suspended), (.retired, .retired)] {
            #expect(
                self.verdict(try BootstrapScript.record(status: status), query: ["ep=x"])
                    == .watch(endpoint: "x", query: ["ep=x"], would: cause))
        }
        #expect(
            self.verdict(try BootstrapScript.record(), query: ["ep=other"])
                == .watch(endpoint: "other", query: ["ep=other"], would: .endpointMismatch))
        #expect(
            self.verdict(try BootstrapScript.record(profile: .secure), arrival: .plain)
                == .watch(endpoint: "meter-1", query: ["ep=meter-1"], would: .unauthorized))
        #expect(
            self.verdict(try BootstrapScript.record(), query: [])
                == .watch(endpoint: "meter-1", query: [], would: nil), "a device may leave its name out")
    }

    @Test("A device without a record is unauthorized, whatever else it is")
    func stranger() throws {
        let record = try #require(SIMRecord.stranger(at: "192.0.2.7:40000"))
        let known = try BootstrapScript.record()
        #expect(record.isStranger && !known.isStranger)
        #expect(self.verdict(record, query: [], arrival: .plain, mode: .enforce) == .refuse(.unauthorized))
        for query in [["ep=a"], ["ep=a", "pct=40"]] {
            #expect(
                self.verdict(record, query: query, arrival: .plain)
                    == .watch(endpoint: "a", query: query, would: .unauthorized))
        }
    }

    @Test("What is malformed is refused in both modes, of suspended SIMs too")
    func malformed() throws {
        for record in [try BootstrapScript.record(), try BootstrapScript.record(status: .suspended)] {
            #expect(self.verdict(record, query: ["ep=a", "ep=b"]) == .refuse(.malformed))
            #expect(self.verdict(record, isConfirmable: false) == .refuse(.malformed))
        }
    }

    @Test("A Register without a bootstrap is let through under the device's own name")
    func registration() throws {
        func verdict(_ mode: GatewayConfiguration.Mode, query: [String] = ["ep=own"]) throws -> (
            Gate.Admission, FailureCause?
        ) {
            let verdict = Gate.registrationVerdict(
                on: CoAPRequest(.post, path: ["rd"], query: query), record: try BootstrapScript.record(), grant: nil,
                mode: mode
            )
            return (verdict.admission, verdict.would)
        }
        #expect(try verdict(Self.audit) == (.admit(endpoint: "own"), .notBootstrapped))
        #expect(try verdict(Self.audit, query: []) == (.admit(endpoint: "meter-1"), .notBootstrapped))
        #expect(try verdict(.enforce) == (.refuse(.notBootstrapped, .forbidden), nil))
    }

    @Test("Every record of the mode says so, and a device without a record has no ICCID")
    func marked() throws {
        let stranger = try #require(SIMRecord.stranger(at: "192.0.2.7:40000"))
        let events = [stranger.iccid, BootstrapScript.iccid].map {
            AuditEvent(.bootstrapRequested, time: 0, iccid: $0, detail: [.init("a", .integer(1))])
        }
        let marked = Self.audit.marked(events)
        #expect(marked.map(\.iccid) == [nil, BootstrapScript.iccid])
        #expect(marked.allSatisfy { $0.detail.last == .init("mode", .text("audit")) })
        #expect(GatewayConfiguration.Mode.enforce.marked(events) == events)
    }
}
