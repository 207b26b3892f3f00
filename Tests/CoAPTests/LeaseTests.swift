import CoAP
import Testing
import Timing

/// What a socket that serves one device after the other relies on.
@Suite("Leases")
struct LeaseTests {
    @Test("After the end of a lease nothing is open, and message IDs go on counting")
    func abandoned() throws {
        var script = Script()
        let (_, events) = script.send(CoAPRequest(.post, path: ["bs"]))
        let before = try #require(transmitted(events).first)
        _ = script.send(CoAPRequest(.get))
        _ = script.receive(bootstrapRequest())
        script.layer.abandonExchanges()
        #expect(script.layer.isIdle)
        #expect(script.layer.statistics.openExchanges == 0 && script.layer.statistics.openRequests == 0)
        #expect(script.advance(by: 100) == [])
        let (_, next) = script.send(CoAPRequest(.post, path: ["bs"]))
        #expect(transmitted(next).first?.messageID == before.messageID &+ 1)
        #expect(script.layer.messageIDsUsed == 2)
    }

    @Test("An answer is replayed also after the end of the lease")
    func replayAfterLease() throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        let answer = script.respond(id, CoAPResponse(.changed))[0]
        script.layer.abandonExchanges()
        #expect(script.receive(bootstrapRequest()) == [answer, .dropped(.duplicate)])
    }

    @Test("A request that was open at the end of the lease gets RST when it is repeated, never a second hearing")
    func openRequestAfterLease() throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        script.layer.abandonExchanges()
        #expect(script.receive(bootstrapRequest()) == [.transmit([0x70, 0, 0, 100]), .dropped(.duplicate)])
        #expect(script.respond(id, CoAPResponse(.changed)) == [])
    }

    @Test("A late response to a request of the former lease gets RST")
    func lateResponse() throws {
        var script = Script()
        let (_, events) = script.send(CoAPRequest(.post, path: ["bs"]))
        let request = try #require(transmitted(events).first)
        script.layer.abandonExchanges()
        let response = CoAPMessage(type: .confirmable, code: .changed, messageID: 7, token: request.token)
        #expect(script.receive(response) == [.transmit([0x70, 0, 0, 7]), .dropped(.unexpectedResponse)])
    }

    @Test("In quarantine every new request gets RST as CON and nothing as NON, also when it is repeated afterwards")
    func quarantine() throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        let answer = script.respond(id, CoAPResponse(.changed))[0]
        script.layer.rejectsRequests = true
        let write = bootstrapRequest(messageID: 101)
        let reset = Event.transmit([0x70, 0, 0, 101])
        #expect(script.receive(write) == [reset, .dropped(.requestRejected)])
        #expect(script.receive(bootstrapRequest(.nonConfirmable, messageID: 102)) == [.dropped(.requestRejected)])
        #expect(script.receive(bootstrapRequest()) == [answer, .dropped(.duplicate)])
        script.layer.rejectsRequests = false
        #expect(script.receive(write) == [reset, .dropped(.duplicate)])
        #expect(requested(script.receive(bootstrapRequest(messageID: 103))) != nil)
    }

    @Test("No message ID comes back within the exchange lifetime, and all of them after it")
    func messageIDsAreNotReused() throws {
        var script = Script(seed: 3)
        var lastUse = [UInt16: Instant]()
        var overloads = 0
        // About 400 messages a second for ten minutes, more than the IDs allow.
        for _ in 0..<6_000 {
            for _ in 0..<40 {
                let available = script.layer.canIssueMessageID(now: script.now)
                let (id, events) = script.send(CoAPRequest(.get, isConfirmable: false))
                script.layer.cancel(id)
                #expect(available == !transmitted(events).isEmpty)
                if case .transmit(let datagram)? = events.first {
                    let messageID = UInt16(datagram[2]) << 8 | UInt16(datagram[3])
                    if let last = lastUse[messageID], last.duration(to: script.now) < .seconds(247) {
                        Issue.record("message ID \(messageID) came back after \(last.duration(to: script.now))")
                    }
                    lastUse[messageID] = script.now
                } else {
                    overloads += 1
                    #expect(events == [.failed(id, .overloaded)])
                    break
                }
            }
            script.now += .milliseconds(100)
        }
        #expect(overloads > 0)
        #expect(lastUse.count == 65_536)
        #expect(script.layer.messageIDsUsed > 100_000)
    }

    @Test("A response that finds no message ID is settled as overloaded")
    func noMessageIDLeft() throws {
        var script = Script()
        let (incoming, _) = try #require(requested(script.receive(bootstrapRequest())))
        _ = script.advance(by: 1)
        for _ in 0..<70_000 where script.layer.canIssueMessageID(now: script.now) {
            let (id, _) = script.send(CoAPRequest(.get, isConfirmable: false))
            script.layer.cancel(id)
        }
        #expect(script.layer.availableMessageIDs(now: script.now) == 0)
        #expect(script.respond(incoming, CoAPResponse(.changed)) == [.settled(incoming, .overloaded)])
        let (id, events) = script.send(CoAPRequest(.get))
        #expect(events == [.failed(id, .overloaded)])
        #expect(script.layer.isIdle)
        script.now += .seconds(250)
        #expect(script.layer.availableMessageIDs(now: script.now) >= 7 * 8192)
    }
}
