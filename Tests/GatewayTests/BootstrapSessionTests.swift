import Gateway
import LwM2M
import Secrets
import Testing
import Timing

@testable import CoAP

@Suite("The bootstrap of one device")
struct BootstrapSessionTests {
    typealias Action = BootstrapSession.Action

    @Test("A whole bootstrap: request, 2.04, delete, write, finish; the lease ends cleanly")
    func wholeBootstrap() throws {
        var script = try BootstrapScript()
        let request = script.nextID()
        #expect(script.deviceRequests(request) == [.acquireLease([BootstrapScript.upstream])])
        #expect(script.leaseGranted() == [.requestUpstream(CoAPRequest(.post, path: ["bs"], query: ["ep=meter-1"]))])
        #expect(script.upstreamAnswers(.changed) == [.answerDevice(request, CoAPResponse(.changed))])

        let delete = script.nextID()
        #expect(script.upstreamRequests(delete, BootstrapScript.deleteAll) == [.requestDevice(CoAPRequest(.delete))])
        #expect(script.deviceAnswers(.deleted) == [.answerUpstream(delete, CoAPResponse(.deleted))])

        let write = script.nextID()
        let written = script.upstreamRequests(
            write, BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"])
        )
        guard case .store(let credentials, _)? = written.first, case .requestDevice(let passed)? = written.last else {
            Issue.record("expected the credential to be stored and the write to be passed, got \(written)")
            return
        }
        #expect(credentials.count == 1)
        #expect(passed.uriPath == ["0", "0"])
        #expect(passed.contentFormat == 11542)
        #expect(passed.payload != BootstrapScript.serverAccount)
        #expect(script.stored().isEmpty)
        #expect(script.deviceAnswers(.changed) == [.answerUpstream(write, CoAPResponse(.changed))])

        let finish = script.nextID()
        #expect(script.upstreamRequests(finish, BootstrapScript.finish) == [.requestDevice(BootstrapScript.finish)])
        #expect(
            script.deviceAnswers(.changed) == [.answerUpstream(finish, CoAPResponse(.changed)), .releaseLease(.clean)]
        )
        #expect(script.ends == [nil])
        #expect(!script.session.isRunning)
        #expect(
            script.events.map(\.name) == [
                .bootstrapRequested, .bootstrapForwarded, .credentialMinted, .bootstrapWritten, .bootstrapFinished,
            ]
        )
    }

    @Test("T5: a request of the server that overtakes its 2.04 waits until the device has the 2.04")
    func overtakingRequestWaits() throws {
        var script = try BootstrapScript()
        let request = script.nextID()
        script.deviceRequests(request)
        script.leaseGranted()
        #expect(script.upstreamRequests(script.nextID(), BootstrapScript.deleteAll).isEmpty)
        #expect(
            script.upstreamAnswers(.changed) == [
                .answerDevice(request, CoAPResponse(.changed)), .requestDevice(CoAPRequest(.delete)),
            ]
        )
    }

    @Test("T5: nothing that a refusing server sent has passed to the device")
    func refusingServerWritesNothing() throws {
        var script = try BootstrapScript()
        let request = script.nextID()
        script.deviceRequests(request)
        script.leaseGranted()
        script.upstreamRequests(script.nextID(), BootstrapScript.deleteAll)
        #expect(
            script.upstreamAnswers(.forbidden) == [
                .answerDevice(request, CoAPResponse(.forbidden)), .releaseLease(.parked),
            ]
        )
        #expect(script.ends == [.upstreamRefused])
    }

    @Test("T7: a second request of the server waits for the device's answer to the first")
    func oneRequestAtATime() throws {
        var script = try BootstrapScript()
        script.begin()
        let first = script.nextID()
        let second = script.nextID()
        script.upstreamRequests(first, BootstrapScript.deleteAll)
        #expect(script.upstreamRequests(second, BootstrapScript.finish).isEmpty)
        #expect(
            script.deviceAnswers(.deleted) == [
                .answerUpstream(first, CoAPResponse(.deleted)), .requestDevice(BootstrapScript.finish),
            ]
        )
    }

    @Test("T3: a late Finish of a superseded bootstrap does not pass; its credentials are gone")
    func lateFinishDoesNotPass() throws {
        var script = try BootstrapScript()
        script.begin()
        script.upstreamRequests(script.nextID(), BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"]))
        script.stored()
        script.deviceAnswers(.changed)
        script.deviceRequests(script.nextID())
        // The server has sent it before it knows of the new request.
        let late = script.nextID()
        script.upstreamRequests(late, BootstrapScript.finish)
        #expect(script.upstreamAnswers(.changed).last == .answerUpstream(late, CoAPResponse(.notAcceptable)))
        // The new bootstrap goes on as if nothing had been.
        script.upstreamRequests(script.nextID(), BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"]))
        script.stored()
        script.deviceAnswers(.changed)
        #expect(
            script.upstreamRequests(script.nextID(), BootstrapScript.finish) == [.requestDevice(BootstrapScript.finish)]
        )
    }

    @Test("T5: what a server sent before it was given up is not taken for another server's")
    func heldRequestsEndWithTheirServer() throws {
        var script = try BootstrapScript(upstreams: [BootstrapScript.upstream, BootstrapScript.second])
        script.deviceRequests(script.nextID())
        script.leaseGranted()
        script.upstreamRequests(script.nextID(), BootstrapScript.deleteAll)
        // Its 2.04 never comes. The device asks again.
        script.play { session, _, out in session.upstreamFailed(.unacknowledged, wallClock: 0, into: &out) }
        let request = script.nextID()
        script.deviceRequests(request)
        script.leaseGranted(BootstrapScript.second)
        #expect(script.upstreamAnswers(.changed) == [.answerDevice(request, CoAPResponse(.changed))])
    }

    @Test("T3: a new request supersedes the running bootstrap and goes upstream on the same lease")
    func newestRequestWins() throws {
        var script = try BootstrapScript()
        script.begin()
        script.upstreamRequests(script.nextID(), BootstrapScript.deleteAll)
        #expect(
            script.deviceRequests(script.nextID()) == [
                .cancelDeviceRequest, .requestUpstream(CoAPRequest(.post, path: ["bs"], query: ["ep=meter-1"])),
            ]
        )
        #expect(script.ends == [.superseded])
        #expect(script.session.isRunning)
    }

    @Test("T3: credentials of a superseded bootstrap are discarded")
    func supersededCredentialsGo() throws {
        var script = try BootstrapScript()
        script.begin()
        let written = script.upstreamRequests(
            script.nextID(), BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"])
        )
        guard case .store(let credentials, _)? = written.first else {
            Issue.record("no credential in \(written)")
            return
        }
        #expect(
            script.deviceRequests(script.nextID()).contains(.discard(credentials.map(\.identity), grants: [])))
    }

    @Test("T4: when the device's session is gone, the server is told 5.04 and the socket stays reserved")
    func deviceGone() throws {
        var script = try BootstrapScript()
        script.begin()
        let delete = script.nextID()
        script.upstreamRequests(delete, BootstrapScript.deleteAll)
        let out = script.play { session, _, out in session.deviceGone(.superseded, wallClock: 0, into: &out) }
        #expect(out == [.answerUpstream(delete, CoAPResponse(.gatewayTimeout)), .releaseLease(.parked)])
    }

    @Test("T39: Finish waits until the credentials are on disk")
    func finishWaitsForTheDisk() throws {
        var script = try BootstrapScript()
        script.begin()
        script.upstreamRequests(
            script.nextID(), BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"])
        )
        script.deviceAnswers(.changed)
        #expect(script.upstreamRequests(script.nextID(), BootstrapScript.finish).isEmpty)
        #expect(script.stored() == [.requestDevice(BootstrapScript.finish)])
    }

    @Test("With a strict journal Finish waits for the disk also where nothing was minted, and fails with it")
    func finishWaitsForTheJournal() throws {
        for failure in [FailureCause?.none, .storeUnavailable] {
            var script = try BootstrapScript(isAuditStrict: true)
            script.begin()
            let finish = script.nextID()
            #expect(script.upstreamRequests(finish, BootstrapScript.finish) == [.store([], grants: [])])
            if failure == nil {
                #expect(script.stored() == [.requestDevice(BootstrapScript.finish)])
            } else {
                let actions = script.stored(failure)
                #expect(actions.first == .answerUpstream(finish, CoAPResponse(.internalServerError)))
                #expect(script.ends == [.storeUnavailable])
            }
        }
    }

    @Test("T39: credentials that cannot be stored end the bootstrap before Finish")
    func storeFails() throws {
        var script = try BootstrapScript()
        script.begin()
        script.upstreamRequests(
            script.nextID(), BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"])
        )
        script.deviceAnswers(.changed)
        let finish = script.nextID()
        script.upstreamRequests(finish, BootstrapScript.finish)
        #expect(script.stored(.storeUnavailable).first == .answerUpstream(finish, CoAPResponse(.internalServerError)))
        #expect(script.ends == [.storeUnavailable])
    }

    @Test("T42: after a refused account Finish is answered 4.06 here and never reaches the device")
    func refusedAccountStopsFinish() throws {
        var script = try BootstrapScript()
        script.begin()
        let write = script.nextID()
        #expect(
            script.upstreamRequests(write, BootstrapScript.write(BootstrapScript.foreignAccount, to: ["0", "0"]))
                == [.answerUpstream(write, CoAPResponse(.badRequest))]
        )
        let finish = script.nextID()
        #expect(
            script.upstreamRequests(finish, BootstrapScript.finish)
                == [.answerUpstream(finish, CoAPResponse(.notAcceptable))]
        )
        let refused = try #require(script.events.first { $0.name == .bootstrapRefused })
        #expect(refused.cause == .noRouteForServer)
    }

    @Test("T38: 4.06 of the device is passed on, and the server may correct and finish again")
    func finishCanBeRepeated() throws {
        var script = try BootstrapScript()
        script.begin()
        let finish = script.nextID()
        script.upstreamRequests(finish, BootstrapScript.finish)
        #expect(script.deviceAnswers(.notAcceptable) == [.answerUpstream(finish, CoAPResponse(.notAcceptable))])
        #expect(script.session.isRunning)
        #expect(
            script.upstreamRequests(script.nextID(), BootstrapScript.finish) == [
                .requestDevice(BootstrapScript.finish)
            ]
        )
    }

    @Test("T42: what the device refused is the cause of the end when it leaves")
    func refusalOfTheDevice() throws {
        var finish = try BootstrapScript()
        finish.begin()
        finish.upstreamRequests(finish.nextID(), BootstrapScript.finish)
        finish.deviceAnswers(.notAcceptable)
        finish.play { session, _, out in session.deviceGone(.deviceUnreachable, wallClock: 0, into: &out) }
        #expect(finish.ends == [.finishRefused])

        var write = try BootstrapScript()
        write.begin()
        write.upstreamRequests(write.nextID(), BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"]))
        write.deviceAnswers(.badRequest)
        write.play { session, _, out in session.deviceGone(.deviceUnreachable, wallClock: 0, into: &out) }
        #expect(write.ends == [.deviceRefused])
    }

    @Test(
        "T43: a device that does not answer is 5.04 upstream, one that resets is 5.02, and the flow stops",
        arguments: [
            (MessageLayer.Failure.unacknowledged, CoAPCode.gatewayTimeout, FailureCause.deviceUnreachable),
            (.noResponse, .gatewayTimeout, .deviceUnreachable), (.reset, .badGateway, .deviceRefused),
        ]
    )
    func deviceFails(failure: MessageLayer.Failure, code: CoAPCode, cause: FailureCause) throws {
        var script = try BootstrapScript()
        script.begin()
        let delete = script.nextID()
        script.upstreamRequests(delete, BootstrapScript.deleteAll)
        let out = script.play { session, now, out in session.deviceFailed(failure, now: now, wallClock: 0, into: &out) }
        #expect(out == [.answerUpstream(delete, CoAPResponse(code)), .releaseLease(.parked)])
        #expect(script.ends == [cause])
    }

    @Test("T10: once Finish has gone to the device, its credentials stay whatever happens")
    func credentialsSurviveAnUnknownOutcome() throws {
        var script = try BootstrapScript()
        script.begin()
        script.upstreamRequests(
            script.nextID(), BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"])
        )
        script.deviceAnswers(.changed)
        script.stored()
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        let out = script.play { session, now, out in
            session.deviceFailed(.unacknowledged, now: now, wallClock: 0, into: &out)
        }
        #expect(!out.contains { if case .discard = $0 { true } else { false } })
    }

    @Test("T6: a silent server is 5.04 for the device, after every server has been asked")
    func silentServers() throws {
        var script = try BootstrapScript(upstreams: [BootstrapScript.upstream, BootstrapScript.second])
        let request = script.nextID()
        script.deviceRequests(request)
        script.leaseGranted()
        #expect(
            script.play { session, _, out in session.upstreamFailed(.unacknowledged, wallClock: 0, into: &out) }
                == [.releaseLease(.parked), .acquireLease([BootstrapScript.second])]
        )
        script.leaseGranted(BootstrapScript.second)
        #expect(
            script.play { session, _, out in session.upstreamFailed(.unacknowledged, wallClock: 0, into: &out) }
                == [.answerDevice(request, CoAPResponse(.gatewayTimeout)), .releaseLease(.parked)]
        )
        #expect(script.ends == [.upstreamSilent])
    }

    @Test("A server that has taken the request, or has begun to write, is the only one that is asked")
    func nothingTwice() throws {
        for howItShows in 0..<3 {
            var script = try BootstrapScript(upstreams: [BootstrapScript.upstream, BootstrapScript.second])
            let request = script.nextID()
            script.deviceRequests(request)
            script.leaseGranted()
            if howItShows == 0 { script.play { session, _, _ in session.upstreamAcknowledged() } }
            if howItShows == 1 { script.upstreamRequests(script.nextID(), BootstrapScript.finish) }
            let failure: MessageLayer.Failure = howItShows == 2 ? .noResponse : .unacknowledged
            let out = script.play { session, _, out in session.upstreamFailed(failure, wallClock: 0, into: &out) }
            #expect(out == [.answerDevice(request, CoAPResponse(.gatewayTimeout)), .releaseLease(.parked)])
            #expect(script.ends == [.upstreamSilent])
        }
    }

    @Test("A server that is down is 5.03 with Max-Age")
    func unreachableServer() throws {
        var script = try BootstrapScript()
        let request = script.nextID()
        script.deviceRequests(request)
        let out = script.play { session, _, out in
            session.leaseRefused(.upstreamUnreachable, wallClock: 0, into: &out)
        }
        #expect(out == [.answerDevice(request, CoAPResponse(.serviceUnavailable, maxAge: 60))])
    }

    @Test("T38: a server that never finishes: the bootstrap ends when the device has given up too")
    func noFinish() throws {
        var script = try BootstrapScript()
        script.begin()
        let deadline = try #require(script.session.deadline)
        script.now = deadline
        let out = script.play { session, now, out in session.handleDeadline(now: now, wallClock: 0, into: &out) }
        #expect(out == [.releaseLease(.parked)])
        #expect(script.ends == [.upstreamSilent])
    }

    @Test("A device that is still being asked when the time is over is the one that does not answer")
    func slowDevice() throws {
        var script = try BootstrapScript()
        script.begin()
        let delete = script.nextID()
        script.upstreamRequests(delete, CoAPRequest(.delete, path: ["0"]))
        script.now = try #require(script.session.deadline)
        let out = script.play { session, now, out in session.handleDeadline(now: now, wallClock: 0, into: &out) }
        #expect(out == [.answerUpstream(delete, CoAPResponse(.gatewayTimeout)), .releaseLease(.parked)])
        #expect(script.ends == [.deviceUnreachable])
    }

    @Test(
        "Refusals before anything goes upstream",
        arguments: [
            (SIMRecord.Status.suspended, SIMRecord.Profile.follow, ["ep=meter-1"], FailureCause.suspended),
            (.active, .follow, ["ep=meter-2"], .endpointMismatch),
            (.active, .follow, ["ep=meter-1", "ep=meter-1"], .malformed),
        ]
    )
    func refusals(
        status: SIMRecord.Status, profile: SIMRecord.Profile, query: [String], cause: FailureCause
    ) throws {
        var script = try BootstrapScript(record: BootstrapScript.record(status: status, profile: profile))
        let request = script.nextID()
        #expect(script.deviceRequests(request, query: query) == [.answerDevice(request, CoAPResponse(.badRequest))])
        #expect(script.events.map(\.cause) == [cause])
        #expect(script.ends == [cause])
    }

    @Test("T11: a request without ep goes upstream with the record's name")
    func endpointIsInserted() throws {
        var script = try BootstrapScript()
        script.deviceRequests(script.nextID(), query: [])
        #expect(script.leaseGranted() == [.requestUpstream(CoAPRequest(.post, path: ["bs"], query: ["ep=meter-1"]))])
    }

    @Test("endpoint-policy replace: the record's name goes upstream, whatever the device calls itself")
    func endpointIsReplaced() throws {
        var script = try BootstrapScript(record: BootstrapScript.record(policy: .replace))
        script.deviceRequests(script.nextID(), query: ["ep=host-17"])
        #expect(script.leaseGranted() == [.requestUpstream(CoAPRequest(.post, path: ["bs"], query: ["ep=meter-1"]))])
    }

    @Test("T14: other query parameters do not go upstream, and ep comes first")
    func foreignParametersStay() throws {
        var script = try BootstrapScript()
        script.deviceRequests(script.nextID(), query: ["x=1", "pct=112", "ep=meter-1"])
        let request = CoAPRequest(.post, path: ["bs"], query: ["ep=meter-1", "pct=112"])
        #expect(script.leaseGranted() == [.requestUpstream(request)])
    }
}
