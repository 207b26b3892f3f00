import CoAP
import Gateway
import Testing

@Suite("A bootstrap for a server that has to be told its keys")
struct PublishedBootstrapTests {
    /// A bootstrap whose account is written and stored; what comes next is Finish.
    private func written(
        _ keys: GatewayConfiguration.KeysPerEndpoint
    ) throws -> (script: BootstrapScript, minted: [OneTimeCredential]) {
        var script = try BootstrapScript(publishedKeys: keys)
        script.begin()
        let write = BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"])
        guard case .store(let minted, _)? = script.upstreamRequests(script.nextID(), write).first else {
            throw NothingStored()
        }
        script.stored()
        script.deviceAnswers(.changed)
        return (script, minted)
    }

    private struct NothingStored: Error {}

    @Test("One key for each endpoint: published just before Finish, which passes only then; committed with its 2.04")
    func one() throws {
        var (script, minted) = try self.written(.one)
        #expect(minted.count == 1)
        let finish = script.nextID()
        #expect(script.upstreamRequests(finish, BootstrapScript.finish) == [.publish(minted)])
        #expect(script.published() == [.requestDevice(BootstrapScript.finish)])
        #expect(
            script.deviceAnswers(.changed) == [
                .answerUpstream(finish, CoAPResponse(.changed)), .releaseLease(.clean), .commit(minted, .one),
            ])
        #expect(script.ends == [nil])
    }

    @Test("Finish that comes before the credentials are on disk waits for both, one after the other")
    func storeFirst() throws {
        var script = try BootstrapScript(publishedKeys: .one)
        script.begin()
        script.upstreamRequests(
            script.nextID(), BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"]))
        script.deviceAnswers(.changed)
        #expect(script.upstreamRequests(script.nextID(), BootstrapScript.finish).isEmpty)
        let stored = script.stored()
        guard stored.count == 1, case .publish? = stored.first else {
            Issue.record("nothing is published: \(stored)")
            return
        }
        #expect(script.published() == [.requestDevice(BootstrapScript.finish)])
    }

    @Test("Not accepted: the bootstrap ends, the device gets no Finish, and the server is looked after")
    func refused() throws {
        var (script, minted) = try self.written(.one)
        let finish = script.nextID()
        script.upstreamRequests(finish, BootstrapScript.finish)
        #expect(
            script.published(.publicationRefused) == [
                .answerUpstream(finish, CoAPResponse(.internalServerError)), .releaseLease(.parked),
                .discard(minted.map(\.identity), grants: []), .restore(minted),
            ])
        #expect(script.ends == [.publicationRefused])
        #expect(script.events.last?.cause == .publicationRefused)
    }

    @Test("4.06 to Finish puts the previous key back; the Finish after it publishes again")
    func notAcceptable() throws {
        var (script, minted) = try self.written(.one)
        let first = script.nextID()
        script.upstreamRequests(first, BootstrapScript.finish)
        script.published()
        #expect(
            script.deviceAnswers(.notAcceptable) == [
                .answerUpstream(first, CoAPResponse(.notAcceptable)), .restore(minted),
            ])
        let second = script.nextID()
        #expect(script.upstreamRequests(second, BootstrapScript.finish) == [.publish(minted)])
        script.published()
        #expect(script.deviceAnswers(.changed).last == .commit(minted, .one))
        #expect(script.ends == [nil])
    }

    @Test("Any other answer to Finish, and none, puts the previous key back", arguments: [true, false])
    func finishFails(answers: Bool) throws {
        var (script, minted) = try self.written(.one)
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        script.published()
        let actions =
            answers
            ? script.deviceAnswers(.internalServerError)
            : script.play { session, now, out in
                session.deviceFailed(.unacknowledged, now: now, wallClock: 0, into: &out)
            }
        #expect(actions.contains(.restore(minted)))
        // Its fate is not known, so the store keeps it (T10).
        #expect(!actions.contains(.discard(minted.map(\.identity), grants: [])))
        #expect(script.ends.count == 1 && script.ends[0] != nil)
    }

    @Test("A device that leaves or asks again while the server is told: what was published is taken back")
    func overtaken() throws {
        var (script, minted) = try self.written(.one)
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        let actions = script.deviceRequests(script.nextID())
        #expect(actions.contains(.discard(minted.map(\.identity), grants: [])))
        #expect(actions.contains(.restore(minted)))
        // The outcome of the old publication is none of the new bootstrap's business.
        #expect(script.published().isEmpty)
    }

    @Test("The key of an account that the device refuses is not published: it goes on with the one that it has")
    func accountRefused() throws {
        var script = try BootstrapScript(publishedKeys: .one)
        script.begin()
        let write = BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"])
        guard case .store(let minted, _)? = script.upstreamRequests(script.nextID(), write).first else {
            throw NothingStored()
        }
        script.stored()
        script.deviceAnswers(.badRequest)
        #expect(
            script.upstreamRequests(script.nextID(), BootstrapScript.finish)
                == [.requestDevice(BootstrapScript.finish)])
        #expect(script.deviceAnswers(.notAcceptable).count == 1)
        // The same account once more, and this time it is taken.
        script.upstreamRequests(script.nextID(), write)
        script.deviceAnswers(.changed)
        #expect(script.upstreamRequests(script.nextID(), BootstrapScript.finish) == [.publish(minted)])
        script.published()
        #expect(script.deviceAnswers(.changed).last == .commit(minted, .one))
    }

    @Test("Nor is it in use after Finish, and the key of an account that it took before stays")
    func refusedAndFinished() throws {
        var (script, minted) = try self.written(.many)
        script.upstreamRequests(
            script.nextID(), BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "2"]))
        script.deviceAnswers(.badRequest)
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        #expect(script.deviceAnswers(.changed).last == .commit(minted, .many))

        script.begin()
        script.upstreamRequests(
            script.nextID(), BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"]))
        script.stored()
        script.deviceAnswers(.badRequest)
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        #expect(script.deviceAnswers(.changed).last == .releaseLease(.clean))
    }

    @Test("Many keys: nothing waits but the store, which stands for the publication too; committed with Finish")
    func many() throws {
        var (script, minted) = try self.written(.many)
        let finish = script.nextID()
        #expect(script.upstreamRequests(finish, BootstrapScript.finish) == [.requestDevice(BootstrapScript.finish)])
        #expect(script.deviceAnswers(.changed).last == .commit(minted, .many))
    }

    @Test("Many keys, one not accepted: Finish does not pass")
    func manyRefused() throws {
        var script = try BootstrapScript(publishedKeys: .many)
        script.begin()
        script.upstreamRequests(
            script.nextID(), BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"]))
        script.deviceAnswers(.changed)
        let finish = script.nextID()
        #expect(script.upstreamRequests(finish, BootstrapScript.finish).isEmpty)
        #expect(
            script.stored(.publicationRefused).first == .answerUpstream(finish, CoAPResponse(.internalServerError)))
        #expect(script.ends == [.publicationRefused])
    }

    @Test("A server behind a relay is told nothing")
    func relayed() throws {
        var script = try BootstrapScript()
        script.begin()
        script.upstreamRequests(
            script.nextID(), BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"]))
        script.stored()
        script.deviceAnswers(.changed)
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        script.deviceAnswers(.changed)
        for action in script.actions {
            switch action {
            case .publish, .restore, .commit: Issue.record("\(action)")
            default: continue
            }
        }
    }
}
