package import CoAP
package import LwM2M

/// Log-and-audit mode: what the device gets is upstream's, but for its way back to this gateway.
extension AccountRewriter {
    /// A document of upstream with its bootstrap account as `enforce` would write it and all else as it is; nil when there is
    /// no bootstrap account in it, or none that can be led back.
    ///
    /// The account gets the security that goes with its address: over DTLS the device's own identity and key. An address alone
    /// would be of no use to a device that finds another mode or another key beside it.
    package func keepingDevice(in payload: [UInt8], contentFormat: UInt16?, at path: LwM2MPath) -> [UInt8]? {
        guard path.objectID == 0, path.count < 3, let format = try? Self.supported(contentFormat, at: path),
            let content = try? PayloadCodec.decode(payload, format, at: path)
        else { return nil }
        let kept: PathContent
        switch content {
        case .instance(let instance):
            guard let led = self.ledBack(instance) else { return nil }
            kept = .instance(led)
        case .instances(let instances):
            guard let led = self.ledBack(instances) else { return nil }
            kept = .instances(led)
        case .resource: return nil
        }
        return try? PayloadCodec.encode(kept, format, at: path)
    }

    /// The same for a whole pack.
    package func keepingDevice(inPack payload: [UInt8], contentFormat: UInt16?) -> [UInt8]? {
        guard let contentFormat, Self.isPackFormat(contentFormat) else { return nil }
        let format = ContentFormat(rawValue: contentFormat)
        guard var objects = try? PayloadCodec.decodePack(payload, format),
            let index = objects.firstIndex(where: { $0.id == 0 }),
            let led = self.ledBack(objects[index].instances)
        else { return nil }
        objects[index].instances = led
        return try? PayloadCodec.encodePack(objects, format)
    }

    /// The write that leads a bootstrap account back which upstream has written resource by resource.
    package func keepingDevice(heldAt path: LwM2MPath) -> CoAPRequest? {
        guard path.objectID == 0, let held = self.held.instance(at: path), let led = self.ledBack(held) else {
            return nil
        }
        for number in [self.structuredFormat, self.preferredFormat, ContentFormat.tlv.rawValue].compactMap(\.self) {
            let format = ContentFormat(rawValue: number)
            guard let payload = try? PayloadCodec.encode(.instance(led), format, at: path) else { continue }
            return CoAPRequest(.put, path: path.segments, contentFormat: number, payload: payload)
        }
        return nil
    }

    /// Instances whose resources upstream has written one by one and that were not looked at since, object 0 first.
    package var openHeld: [LwM2MPath] { self.held.openPaths }

    private func ledBack(_ instances: [ObjectInstance]) -> [ObjectInstance]? {
        var instances = instances
        var isLed = false
        for index in instances.indices {
            guard let led = self.ledBack(instances[index]) else { continue }
            instances[index] = led
            isLed = true
        }
        return isLed ? instances : nil
    }

    private func ledBack(_ instance: ObjectInstance) -> ObjectInstance? {
        guard instance.isBootstrapAccount, var account = try? SecurityAccount(instance),
            (try? self.leadBack(&account)) != nil
        else { return nil }
        return account.instance
    }
}
