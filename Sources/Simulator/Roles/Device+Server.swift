internal import CCoAPStack

extension Device {
    /// A message of the server that is a request.
    func answer(_ request: Message, from peer: Peer) -> Message? {
        guard peer == self.peer else { return Message(.unauthorized) }
        self.lastActivity = .now
        // After its end a repeated Finish is answered as before.
        let isBootstrap = [.requestingBootstrap, .receivingAccounts, .bootstrapped].contains(self.phase)
        if isBootstrap { self.served += 1 }
        let answer = isBootstrap ? self.bootstrapAnswer(request) : self.managementAnswer(request)
        self.events.report(
            "request",
            [
                "method": .text(request.code.description), "path": .text(request.path),
                "bytes": .integer(Int64(request.payload.count)), "code": .text(answer.code.description),
            ]
        )
        if isBootstrap, self.phase != .bootstrapped, request.code == .post, answer.code == .changed {
            self.finishBootstrap()
        }
        return answer
    }

    // MARK: - While it bootstraps

    private func bootstrapAnswer(_ request: Message) -> Message {
        if request.code == .post, request.path == "/bs" { return self.finishAnswer() }
        guard let path = ObjectTree.numbers(of: request.path) else { return Message(.notFound) }
        switch request.code {
        case .delete where path.count < 3:
            let objects = self.objects
            self.objects.delete(at: path) { object, instance in
                // A device keeps its way back, and objects 3 and 19 cannot go.
                if object == 0 { return objects[0][instance]?[1] == [1] }
                return object == 3 || object == 19
            }
            return Message(.deleted)
        case .put:
            if let refusal = self.behaviour.writeRefusal { return Message(refusal) }
            do throws(ObjectTree.WriteProblem) {
                for (object, instance) in try self.objects.write(
                    request.payload,
                    format: request.contentFormat,
                    at: path
                ) { self.reportWrite(object, instance) }
                return Message(.changed)
            } catch {
                return Message(error.code)
            }
        case .get where path.count < 2 && request.accepts == ContentFormat.linkFormat: return self.discoverAnswer()
        // Bootstrap-Read is for the Server objects (LwM2M 1.1); accounts with keys stay with the device.
        case .get where path.first == 1 && path.count < 3:
            guard let (payload, format) = self.objects.read(path) else { return Message(.notFound) }
            var answer = Message(.content)
            answer.setPayload(payload, format: format)
            return answer
        default: return Message(.methodNotAllowed)
        }
    }

    /// The accounts have to be complete before they can count: one server, and how to behave towards it.
    private func finishAnswer() -> Message {
        guard !self.behaviour.refusesFinish, let account = self.serverAccount,
            self.objects[1].values.compactMap({ ServerSettings(resources: $0) })
                .contains(where: { $0.shortServerID == account.shortServerID })
        else { return Message(.notAcceptable) }
        return Message(.changed)
    }

    private func discoverAnswer() -> Message {
        var answer = Message(.content)
        var links = ["</>;lwm2m=\(self.behaviour.version)"]
        for (instance, resources) in self.objects[0].sorted(by: { $0.key < $1.key }) {
            let account = Account(resources: resources)
            let parameter = account?.isBootstrapServer == false ? account?.shortServerID.map { ";ssid=\($0)" } : nil
            links.append("</0/\(instance)>" + (parameter ?? ""))
        }
        if !self.objects.links.isEmpty { links.append(self.objects.links) }
        answer.setPayload(Array(links.joined(separator: ",").utf8), format: ContentFormat.linkFormat)
        return answer
    }

    private func reportWrite(_ object: UInt16, _ instance: UInt16) {
        guard let resources = self.objects[object][instance] else { return }
        if object == 0, let account = Account(resources: resources) {
            self.events.report(
                "account",
                [
                    "instance": .integer(Int64(instance)), "uri": .text(account.uri),
                    "bootstrap": .boolean(account.isBootstrapServer), "mode": .integer(account.securityMode),
                    "identity": account.identity.isEmpty ? nil : .text(readable(account.identity)),
                    "keyBytes": .integer(Int64(account.key.count)),
                    "keyFingerprint": account.key.isEmpty ? nil : .text(fingerprint(account.key)),
                    "ssid": account.shortServerID.map(EventValue.integer),
                ]
            )
        } else if object == 1, let settings = ServerSettings(resources: resources) {
            self.events.report(
                "server",
                [
                    "instance": .integer(Int64(instance)), "ssid": .integer(settings.shortServerID),
                    "lifetime": .integer(settings.lifetime),
                ]
            )
        }
    }

    // MARK: - While it is registered

    private func managementAnswer(_ request: Message) -> Message {
        if request.code == .fetch || request.code == .iPatch { return self.compositeAnswer(request) }
        guard let path = ObjectTree.numbers(of: request.path), let object = path.first else {
            return Message(.notFound)
        }
        // Nobody reads or writes accounts outside a bootstrap.
        if object == 0 { return Message(.unauthorized) }
        switch request.code {
        case .get: return self.readAnswer(request, path)
        case .put where !request.queries.isEmpty: return Message(.changed)
        case .delete where path.count == 2 && object != 3 && object != 1:
            self.objects.delete(at: path) { _, _ in false }
            return Message(.deleted)
        case .post where path.count == 1: return self.createAnswer(request, path)
        case .put:
            guard self.objects.read(path) != nil else { return Message(.notFound) }
            do throws(ObjectTree.WriteProblem) {
                _ = try self.objects.write(request.payload, format: request.contentFormat, at: path)
                return Message(.changed)
            } catch {
                return Message(error.code)
            }
        case .post: return self.executeAnswer(path)
        default: return Message(.methodNotAllowed)
        }
    }

    private func readAnswer(_ request: Message, _ path: [UInt16]) -> Message {
        if request.accepts == ContentFormat.linkFormat {
            var answer = Message(.content)
            answer.setPayload(Array(self.objects.links.utf8), format: ContentFormat.linkFormat)
            return answer
        }
        guard let (payload, format) = self.objects.read(path) else { return Message(.notFound) }
        var answer = Message(.content)
        self.observe(.resource(path), request, &answer)
        answer.setPayload(payload, format: format)
        return answer
    }

    /// Composite operations, in SenML JSON: reads or writes several resources at a time (LwM2M 1.1).
    private func compositeAnswer(_ request: Message) -> Message {
        guard request.contentFormat == ContentFormat.senMLJSON, let records = SenML.read(request.payload) else {
            return Message(.unsupportedContentFormat)
        }
        guard request.code == .iPatch else {
            var answer = Message(.content)
            let paths = records.map(\.name)
            self.observe(.composite(paths), request, &answer)
            answer.setPayload(self.composite(paths), format: ContentFormat.senMLJSON)
            return answer
        }
        for record in records {
            guard let path = ObjectTree.numbers(of: record.name), path.count == 3, path[0] != 0,
                case .text(let text)? = record.value
            else { return Message(.badRequest) }
            var resources = self.objects[path[0]][path[1]] ?? [:]
            resources[path[2]] = Array(text.utf8)
            self.objects.set(path[0], path[1], resources)
        }
        return Message(.changed)
    }

    func composite(_ paths: [String]) -> [UInt8] {
        SenML.write(
            paths.compactMap { path in
                guard let numbers = ObjectTree.numbers(of: path), numbers.first != 0,
                    let value = self.objects.read(numbers)
                else { return nil }
                return SenML.Record(name: path, value: .text(String(decoding: value.payload, as: UTF8.self)))
            }
        )
    }

    /// Makes the instance that the server describes, or the next one.
    private func createAnswer(_ request: Message, _ path: [UInt16]) -> Message {
        do throws(ObjectTree.WriteProblem) {
            _ = try self.objects.write(request.payload, format: request.contentFormat, at: path)
            return Message(.created)
        } catch {
            return Message(error.code)
        }
    }

    private func executeAnswer(_ path: [UInt16]) -> Message {
        guard path.count == 3 else { return Message(.methodNotAllowed) }
        if path[0] == 1 && self.objects[1][path[1]] == nil { return Message(.notFound) }
        switch (path[0], path[2]) {
        case (1, 8): self.mustUpdate = true
        case (1, 9): self.mustBootstrap = true
        case (3, 4): break
        default: return Message(self.objects.read(path) == nil ? .notFound : .methodNotAllowed)
        }
        return Message(.changed)
    }
}
