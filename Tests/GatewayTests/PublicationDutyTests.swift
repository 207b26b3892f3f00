import Gateway
import Secrets
import Testing

@Suite("What a server that is told keys should hold")
struct PublicationDutyTests {
    private func credential(_ name: String, _ state: OneTimeCredential.State) throws -> OneTimeCredential {
        OneTimeCredential(
            identity: try #require(PSKIdentity(name)), key: Secret([UInt8](0..<16)), iccid: BootstrapScript.iccid,
            endpoint: "meter-1", server: "trackers", shortServerID: 2000, state: state, mintedAt: 0
        )
    }

    private func duty(
        _ identity: String? = nil, held: String? = nil, wanted: OneTimeCredential?
    ) throws -> PublicationDuty {
        PublicationDuty(
            id: 1, version: 1, server: "trackers", iccid: BootstrapScript.iccid, endpoint: "meter-1",
            identity: try identity.map { try #require(PSKIdentity($0)) },
            held: try held.map { try #require(PSKIdentity($0)) }, wanted: wanted, attempts: 0
        )
    }

    @Test("One key: the newest that is in use; without one, the newest that the device may have")
    func choice() throws {
        let new = try self.credential("new", .pending)
        let old = try self.credential("old", .active)
        let older = try self.credential("older", .active)
        let gone = try self.credential("gone", .revoked)
        #expect(PublicationDuty.choose(among: [new, old, older]) == old)
        #expect(PublicationDuty.choose(among: [gone, new]) == new)
        #expect(PublicationDuty.choose(among: [gone]) == nil)
        #expect(PublicationDuty.choose(among: []) == nil)
    }

    @Test("One key: published unless the server is known to hold it; withdrawn when there is none")
    func oneKey() throws {
        let old = try self.credential("old", .active)
        #expect(try self.duty(held: "old", wanted: old).step == .nothing)
        #expect(try self.duty(held: "new", wanted: old).step == .publish(old))
        #expect(try self.duty(held: nil, wanted: old).step == .publish(old))
        #expect(try self.duty(held: "new", wanted: nil).step == .withdraw(PSKIdentity("new")))
        #expect(try self.duty(held: nil, wanted: nil).step == .withdraw(nil))
    }

    @Test("Many keys: one that lives stays, one that does not is withdrawn, and none is published a second time")
    func manyKeys() throws {
        let new = try self.credential("new", .pending)
        #expect(try self.duty("new", wanted: new).step == .nothing)
        #expect(try self.duty("new", wanted: nil).step == .withdraw(PSKIdentity("new")))
        #expect(try self.duty("new", held: "new", wanted: nil).step == .withdraw(PSKIdentity("new")))
    }

    @Test("Pauses double from a second to a quarter of an hour, whatever the count")
    func pauses() {
        #expect((1...5).map { PublicationDuty.pause(afterAttempts: $0) } == [1, 2, 4, 8, 16].map { .seconds($0) })
        #expect(PublicationDuty.pause(afterAttempts: 10) == .seconds(512))
        for attempts in [11, 12, 1000, Int.max] {
            #expect(PublicationDuty.pause(afterAttempts: attempts) == .seconds(900))
        }
        for attempts in [0, -1, Int.min] { #expect(PublicationDuty.pause(afterAttempts: attempts) == .seconds(1)) }
    }
}
