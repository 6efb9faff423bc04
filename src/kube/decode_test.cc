// SPDX-License-Identifier: Apache-2.0
#include "kube/decode.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::kube {
namespace {

using testing::ElementsAre;

template <typename T>
T decoded(const std::string& json) {
  Decoder decoder;
  const auto result = decoder.decode(json, "");
  if (!result) {
    ADD_FAILURE() << result.error().what;
    return {};
  }
  if (!result->problems.empty())
    ADD_FAILURE() << result->problems.front().path << ": " << result->problems.front().text;
  if (const auto* object = std::get_if<T>(&result->object)) return *object;
  ADD_FAILURE() << "another kind of object";
  return {};
}

// "path: text" of the first fault and of every note.
std::string complaints(const std::string& json) {
  Decoder decoder;
  const auto result = decoder.decode(json, "");
  if (!result) return result.error().what;
  std::string text;
  for (const auto* list : {&result->problems, &result->notes}) {
    for (const FieldProblem& problem : *list)
      text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", problem.path, problem.text);
  }
  return text;
}

std::string text(const std::vector<IpAddress>& addresses) {
  std::string joined;
  for (const IpAddress& address : addresses) joined += (joined.empty() ? "" : " ") + address.to_string();
  return joined;
}

TEST(DecodeService, KeepsEverythingThatDecidesForwarding) {
  const auto service = decoded<model::Service>(R"({"apiVersion":"v1","kind":"Service",
    "metadata":{"name":"web","namespace":"shop","annotations":{"sluice.dev/scheduler":"wlc","other":"x"},"unknown":[1]},
    "spec":{"type":"LoadBalancer","clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1","fd00::1"],
      "ports":[{"name":"http","port":80,"targetPort":"named","nodePort":30080},{"name":"dns","protocol":"UDP","port":53}],
      "externalIPs":["203.0.113.1"],"loadBalancerSourceRanges":["198.51.100.0/24"," 2001:db8::/32 "],
      "sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":600}},
      "externalTrafficPolicy":"Local","internalTrafficPolicy":"Local","healthCheckNodePort":32000},
    "status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.9"},{"ip":"203.0.113.10","ipMode":"Proxy"},{"hostname":"lb.example"}]}}})");
  EXPECT_EQ(service.key.to_string(), "shop/web");
  EXPECT_EQ(service.type, model::ServiceType::kLoadBalancer);
  EXPECT_EQ(text(service.cluster_ips), "10.96.0.1 fd00::1");
  ASSERT_EQ(service.ports.size(), 2U);
  EXPECT_EQ(service.ports[0].node_port, 30080);
  EXPECT_EQ(service.ports[1].protocol, Protocol::kUdp);
  EXPECT_EQ(text(service.external_ips), "203.0.113.1");
  EXPECT_EQ(service.source_ranges.size(), 2U);
  EXPECT_EQ(service.affinity_seconds, 600U);
  EXPECT_EQ(service.external_traffic_policy, model::TrafficPolicy::kLocal);
  EXPECT_EQ(service.internal_traffic_policy, model::TrafficPolicy::kLocal);
  EXPECT_EQ(service.health_check_node_port, 32000);
  ASSERT_EQ(service.ingress.size(), 2U);
  EXPECT_EQ(service.ingress[1].ip_mode, model::IpMode::kProxy);
  EXPECT_THAT(service.sluice_annotations, ElementsAre(testing::Pair("sluice.dev/scheduler", "wlc")));
}

TEST(DecodeService, OldServersKnowOneClusterIpAndAffinityHasADefaultTimeout) {
  const auto service = decoded<model::Service>(
      R"({"kind":"Service","metadata":{"name":"web","namespace":"shop","labels":{"service.kubernetes.io/service-proxy-name":""}},
          "spec":{"clusterIP":"10.96.0.1","ports":[{"port":80}],"sessionAffinity":"ClientIP"}})");
  EXPECT_EQ(text(service.cluster_ips), "10.96.0.1");
  EXPECT_EQ(service.affinity_seconds, 10800U);
  EXPECT_TRUE(service.other_proxy);
  EXPECT_TRUE(decoded<model::Service>(
                  R"({"kind":"Service","metadata":{"name":"w","namespace":"s"},"spec":{"clusterIP":"None"}})")
                  .headless);
}

TEST(DecodeSlice, ConditionsHintsAndPlacesOfBothVersions) {
  const auto slice = decoded<model::EndpointSlice>(R"({"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice",
    "metadata":{"name":"web-x","namespace":"shop","labels":{"kubernetes.io/service-name":"web"},
      "annotations":{"sluice.dev/weight":"zone/east=3,*=2","endpoints.kubernetes.io/last-change-trigger-time":"2026-11-23T00:00:01Z"}},
    "addressType":"IPv4","ports":[{"name":"http","port":8080}],
    "endpoints":[
      {"addresses":["10.1.0.1"],"nodeName":"a","zone":"east","hints":{"forZones":[{"name":"east"}],"forNodes":[{"name":"a"}]}},
      {"addresses":["10.1.0.2"],"conditions":{"ready":false,"serving":true,"terminating":true}},
      {"addresses":["10.1.0.3"],"conditions":{"ready":null}}]})");
  EXPECT_EQ(slice.service_name, "web");
  EXPECT_NE(slice.last_change_trigger_ns, 0);
  ASSERT_EQ(slice.endpoints.size(), 3U);
  EXPECT_THAT(slice.endpoints[0].zone_hints, ElementsAre("east"));
  EXPECT_THAT(slice.endpoints[0].node_hints, ElementsAre("a"));
  EXPECT_EQ(slice.endpoints[0].weight, 3);
  EXPECT_EQ(slice.endpoints[1].weight, 2);
  EXPECT_TRUE(!slice.endpoints[1].ready && slice.endpoints[1].serving && slice.endpoints[1].terminating);
  EXPECT_TRUE(slice.endpoints[2].ready) << "an absent condition is true";

  const auto old = decoded<model::EndpointSlice>(R"({"apiVersion":"discovery.k8s.io/v1beta1","kind":"EndpointSlice",
    "metadata":{"name":"web-x","namespace":"shop","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv6","ports":[{"port":80}],
    "endpoints":[{"addresses":["fd00::1"],"topology":{"kubernetes.io/hostname":"b","topology.kubernetes.io/zone":"west"}}]})");
  ASSERT_EQ(old.endpoints.size(), 1U);
  EXPECT_EQ(old.endpoints[0].node_name, "b");
  EXPECT_EQ(old.endpoints[0].zone, "west");
  EXPECT_FALSE(old.endpoints[0].weight);
}

TEST(DecodeNode, AddressesCidrsTaintsAndLabels) {
  const auto node = decoded<model::Node>(
      R"({"kind":"Node","metadata":{"name":"a","uid":"u-1","labels":{"topology.kubernetes.io/zone":"east"},
      "deletionTimestamp":"2026-11-23T00:00:01Z"},
    "spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24","fd00:1::/64"],"taints":[{"key":"drain","effect":"NoSchedule"}]},
    "status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"},{"type":"Hostname","address":"a"},{"type":"ExternalIP","address":"203.0.113.1"}]}})");
  EXPECT_EQ(text(node.internal_ips), "192.0.2.1");
  EXPECT_EQ(text(node.external_ips), "203.0.113.1");
  EXPECT_EQ(node.pod_cidrs.size(), 2U);
  EXPECT_THAT(node.taint_keys, ElementsAre("drain"));
  EXPECT_TRUE(node.deleting);
  EXPECT_EQ(node.uid, "u-1");
}

TEST(DecodeService, DefaultsAreThoseOfTheApiServer) {
  const auto service = decoded<model::Service>(
      R"({"kind":"Service","metadata":{"name":"w","namespace":"s"},
          "spec":{"clusterIP":"","ports":[{"port":80},{"port":9,"name":"x","protocol":"SCTP","nodePort":0}]}})");
  EXPECT_EQ(service.type, model::ServiceType::kClusterIp);
  EXPECT_FALSE(service.headless);
  EXPECT_FALSE(service.other_proxy);
  EXPECT_TRUE(service.cluster_ips.empty());
  ASSERT_EQ(service.ports.size(), 2U);
  EXPECT_EQ(service.ports[0], (model::ServicePort{"", Protocol::kTcp, 80, 0}));
  EXPECT_EQ(service.ports[1], (model::ServicePort{"x", Protocol::kSctp, 9, 0}));
  EXPECT_EQ(service.external_traffic_policy, model::TrafficPolicy::kCluster);
  EXPECT_EQ(service.internal_traffic_policy, model::TrafficPolicy::kCluster);
  EXPECT_EQ(service.health_check_node_port, 0);
  EXPECT_FALSE(service.affinity_seconds);
  EXPECT_FALSE(service.has_external_ips);
  EXPECT_TRUE(service.ingress.empty());
  EXPECT_TRUE(service.sluice_annotations.empty());
}

TEST(DecodeService, TypesAndClusterIps) {
  const auto with = [](const char* spec) {
    return decoded<model::Service>(
        fmt::format(R"({{"kind":"Service","metadata":{{"name":"w","namespace":"s"}},"spec":{}}})", spec));
  };
  EXPECT_EQ(with(R"({"type":"NodePort"})").type, model::ServiceType::kNodePort);
  EXPECT_EQ(with(R"({"type":"ClusterIP"})").type, model::ServiceType::kClusterIp);
  EXPECT_TRUE(with(R"({"clusterIP":"None","clusterIPs":["None"]})").headless);
  // No API server sends a second address of a family; the first counts.
  EXPECT_EQ(text(with(R"({"clusterIPs":["10.96.0.1","10.96.0.2","fd00::1"]})").cluster_ips), "10.96.0.1 fd00::1");
  EXPECT_EQ(text(with(R"({"clusterIPs":["10.96.0.1","fd00::1"],"ipFamilies":["IPv4"]})").cluster_ips), "10.96.0.1");
  EXPECT_EQ(text(with(R"({"clusterIPs":["fd00::1","10.96.0.1"],"ipFamilies":["IPv6","IPv4"]})").cluster_ips),
            "fd00::1 10.96.0.1");
  // What is not proxied need not be valid.
  const auto external = with(R"({"type":"ExternalName","externalName":"h.example","ports":[{"port":0}]})");
  EXPECT_EQ(external.type, model::ServiceType::kExternalName);
  EXPECT_TRUE(external.ports.empty());
}

TEST(DecodeSlice, PortsAreKeptWithTheirNamesAndProtocols) {
  const auto slice = decoded<model::EndpointSlice>(R"({"kind":"EndpointSlice","metadata":{"name":"x","namespace":"s",
      "labels":{"kubernetes.io/service-name":"w"}},"addressType":"IPv6","unknown":{"a":[]},
      "ports":[{"name":"","port":1},{"name":"u","protocol":"UDP","port":65535,"appProtocol":"h2c"},{"name":"all"},{"port":null}],
      "endpoints":[{"addresses":["fd00::1","fd00::2"],"hostname":"h","targetRef":{"kind":"Pod"}}]})");
  EXPECT_EQ(slice.family, Family::kIPv6);
  EXPECT_THAT(slice.ports,
              ElementsAre(model::EndpointPort{"", Protocol::kTcp, 1}, model::EndpointPort{"u", Protocol::kUdp, 65535}));
  ASSERT_EQ(slice.endpoints.size(), 1U);
  EXPECT_EQ(slice.endpoints[0].address.to_string(), "fd00::1");
  EXPECT_TRUE(slice.endpoints[0].ready && slice.endpoints[0].serving && !slice.endpoints[0].terminating);
}

TEST(DecodeSlice, WhatMakesItUnownedOrAbsent) {
  Decoder decoder;
  const auto object = [&](const char* labels, const char* type) {
    const auto result = decoder.decode(
        fmt::format(R"({{"metadata":{{"name":"x","namespace":"s","labels":{{{}}}}},"addressType":"{}"}})", labels,
                    type),
        "EndpointSlice");
    EXPECT_TRUE(result && result->problems.empty());
    return std::holds_alternative<std::monostate>(result->object)
               ? "absent"
               : "of " + std::get<model::EndpointSlice>(result->object).service_name;
  };
  EXPECT_EQ(object(R"("kubernetes.io/service-name":"w")", "IPv4"), "of w");
  EXPECT_EQ(object("", "IPv4"), "of ");
  EXPECT_EQ(object(R"("kubernetes.io/service-name":"w","service.kubernetes.io/headless":"")", "IPv4"), "absent");
  EXPECT_EQ(object(R"("kubernetes.io/service-name":"w")", "FQDN"), "absent");
}

TEST(DecodeSlice, TheTriggerTimeIsRfc3339OrAbsent) {
  const auto nanoseconds = [](const char* time) {
    return decoded<model::EndpointSlice>(
               fmt::format(R"({{"kind":"EndpointSlice","addressType":"IPv4","metadata":{{"name":"x","namespace":"s",
                 "annotations":{{"endpoints.kubernetes.io/last-change-trigger-time":"{}"}}}}}})",
                           time))
        .last_change_trigger_ns;
  };
  constexpr std::int64_t kSecond = 1'000'000'000;
  EXPECT_EQ(nanoseconds("1970-01-01T00:00:01Z"), kSecond);
  EXPECT_EQ(nanoseconds("2026-11-23T00:00:01Z"), 1795392001 * kSecond);
  EXPECT_EQ(nanoseconds("2026-11-23T02:00:01+02:00"), 1795392001 * kSecond);
  EXPECT_EQ(nanoseconds("2026-11-22T22:30:01-01:30"), 1795392001 * kSecond);
  EXPECT_EQ(nanoseconds("2026-11-23T00:00:01.25Z"), 1795392001 * kSecond + kSecond / 4);
  EXPECT_EQ(nanoseconds("2026-11-23T00:00:01.1234567891234Z"), 1795392001 * kSecond + 123456789);
  for (const char* bad : {"", "now", "2026-11-23", "2026-11-23T00:00:01", "2026-11-23T00:00:01+2",
                          "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"}) {
    EXPECT_EQ(nanoseconds(bad), 0) << bad;
  }
}

TEST(DecodeService, ItsAgeIsItsCreationTimeIfItHasOne) {
  const auto created = [](const char* metadata) {
    return decoded<model::Service>(
               fmt::format(
                   R"({{"kind":"Service","metadata":{{"name":"x","namespace":"s"{}}},"spec":{{"clusterIP":"10.96.0.1","ports":[{{"port":80}}]}}}})",
                   metadata))
        .created;
  };
  EXPECT_EQ(created(R"(,"creationTimestamp":"2026-11-23T00:00:01Z")"), 1795392001 * std::int64_t{1'000'000'000});
  for (const char* none :
       {"", R"(,"creationTimestamp":null)", R"(,"creationTimestamp":"yesterday")", R"(,"creationTimestamp":2026)"}) {
    EXPECT_EQ(created(none), model::kCreatedUnknown) << none;
  }
}

TEST(DecodeNode, OldServersKnowOnePodCidrAndABareNodeIsANode) {
  EXPECT_EQ(decoded<model::Node>(R"({"kind":"Node","metadata":{"name":"a"},"spec":{"podCIDR":"10.244.1.0/24"}})")
                .pod_cidrs.size(),
            1U);
  const auto bare = decoded<model::Node>(R"({"kind":"Node","metadata":{"name":"a"}})");
  EXPECT_EQ(bare.name, "a");
  EXPECT_FALSE(bare.deleting);
  const auto labelled = decoded<model::Node>(R"({"kind":"Node","metadata":{"name":"a","labels":{"x":"1","y":""}}})");
  EXPECT_THAT(labelled.labels, ElementsAre(testing::Pair("x", "1"), testing::Pair("y", "")));
}

// What an object is refused for, field by field; the text begins with the field's path.
TEST(Decode, ASliceThatNamesNoServiceGetsAWarning) {
  Decoder decoder;
  for (const auto& [labels, warnings] :
       {std::pair("", 1U), std::pair(R"("app":"web")", 1U), std::pair(R"("kubernetes.io/service-name":"")", 1U),
        std::pair(R"("kubernetes.io/service-name":"web")", 0U),
        std::pair(R"("service.kubernetes.io/headless":"")", 0U)}) {
    const auto decoded = decoder.decode(
        fmt::format(R"({{"metadata":{{"name":"x","namespace":"s","labels":{{{}}}}},"addressType":"IPv4"}})", labels),
        "EndpointSlice");
    ASSERT_TRUE(decoded) << labels;
    ASSERT_EQ(decoded->warnings.size(), warnings) << labels;
    if (warnings > 0) {
      EXPECT_EQ(decoded->warnings.front().text,
                "there is no label kubernetes.io/service-name, so it belongs to no Service");
    }
  }
}

TEST(Decode, AFieldOfTheWrongTypeOrRangeRefusesTheObject) {
  struct Row {
    const char* kind;
    const char* members;  // beside metadata
    const char* problem;
  };
  const Row rows[] = {
      {"Service", R"("a":1)", "spec: is required"},
      {"Service", R"("spec":[])", "spec: must be an object"},
      {"Service", R"("spec":{"type":"Fancy"})", "spec.type: unknown value 'Fancy'"},
      {"Service", R"("spec":{"type":7})", "spec.type: must be a string"},
      {"Service", R"("spec":{"clusterIP":7})", "spec.clusterIP: must be a string"},
      {"Service", R"("spec":{"clusterIP":"10.96.0"})", "spec.clusterIPs[0]: '10.96.0' is not an IP address"},
      {"Service", R"("spec":{"clusterIPs":["10.96.0.1","::g"]})", "spec.clusterIPs[1]: '::g' is not an IP address"},
      {"Service", R"("spec":{"clusterIPs":"10.96.0.1"})", "spec.clusterIPs: must be a list"},
      {"Service", R"("spec":{"clusterIPs":[1]})", "spec.clusterIPs[0]: must be a string"},
      {"Service", R"("spec":{"ports":[80]})", "spec.ports[0]: must be an object"},
      {"Service", R"("spec":{"ports":[{}]})", "spec.ports[0].port: is required"},
      {"Service", R"("spec":{"ports":[{"port":0}]})", "spec.ports[0].port: 0 is not between 1 and 65535"},
      {"Service", R"("spec":{"ports":[{"port":"80"}]})",
       "spec.ports[0].port: must be a whole number between 1 and 65535"},
      {"Service", R"("spec":{"ports":[{"port":80.5}]})",
       "spec.ports[0].port: must be a whole number between 1 and 65535"},
      {"Service", R"("spec":{"ports":[{"port":1e30}]})", "spec.ports[0].port: 1e+30 is not between 1 and 65535"},
      {"Service", R"("spec":{"ports":[{"port":18446744073709551615}]})",
       "spec.ports[0].port: 1.8446744073709552e+19 is not between 1 and 65535"},
      {"Service", R"("spec":{"ports":[{"port":80,"name":1}]})", "spec.ports[0].name: must be a string"},
      {"Service", R"("spec":{"ports":[{"port":80,"nodePort":-1}]})",
       "spec.ports[0].nodePort: -1 is not between 0 and 65535"},
      {"Service", R"("spec":{"ports":[{"port":80,"protocol":true}]})", "spec.ports[0].protocol: must be a string"},
      {"Service", R"("spec":{"sessionAffinity":"Cookie"})", "spec.sessionAffinity: unknown value 'Cookie'"},
      {"Service", R"("spec":{"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":0}}})",
       "spec.sessionAffinityConfig.clientIP.timeoutSeconds: 0 is not between 1 and 86400"},
      {"Service", R"("spec":{"externalTrafficPolicy":"Near"})", "spec.externalTrafficPolicy: unknown value 'Near'"},
      {"Service", R"("spec":{"internalTrafficPolicy":"Near"})", "spec.internalTrafficPolicy: unknown value 'Near'"},
      {"Service", R"("spec":{"healthCheckNodePort":65536})",
       "spec.healthCheckNodePort: 65536 is not between 0 and 65535"},
      {"Service", R"("spec":{"externalIPs":{"a":1}})", "spec.externalIPs: must be a list"},
      {"Service", R"("spec":{"loadBalancerSourceRanges":[1]})", "spec.loadBalancerSourceRanges[0]: must be a string"},
      {"Service", R"("spec":{},"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1","ipMode":7}]}})",
       "status.loadBalancer.ingress[0].ipMode: must be a string"},
      {"Service", R"("spec":{},"status":7)", "status: must be an object"},
      {"EndpointSlice", R"("ports":[])", "addressType: unknown address type ''"},
      {"EndpointSlice", R"("addressType":"IPv4","ports":{})", "ports: must be a list"},
      {"EndpointSlice", R"("addressType":"IPv4","ports":[{"port":70000}])",
       "ports[0].port: 70000 is not between 0 and 65535"},
      {"EndpointSlice", R"("addressType":"IPv4","ports":[{"port":80,"protocol":"ICMP"}])",
       "ports[0].protocol: unknown protocol 'ICMP': TCP, UDP and SCTP are supported"},
      {"EndpointSlice", R"("addressType":"IPv4","endpoints":["10.0.0.1"])", "endpoints[0]: must be an object"},
      {"EndpointSlice", R"("addressType":"IPv4","endpoints":[{"addresses":"10.0.0.1"}])",
       "endpoints[0].addresses: must be a list"},
      {"EndpointSlice", R"("addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":"yes"}}])",
       "endpoints[0].conditions.ready: must be true or false"},
      {"EndpointSlice", R"("addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"conditions":{"serving":1}}])",
       "endpoints[0].conditions.serving: must be true or false"},
      {"EndpointSlice", R"("addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"nodeName":{}}])",
       "endpoints[0].nodeName: must be a string"},
      {"EndpointSlice", R"("addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"hints":{"forZones":[7]}}])",
       "endpoints[0].hints.forZones[0]: must be an object"},
      {"EndpointSlice", R"("addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"topology":{"a":1}}])",
       "endpoints[0].topology.a: must be a string"},
      {"Node", R"("spec":{"podCIDRs":7})", "spec.podCIDRs: must be a list"},
      {"Node", R"("spec":{"taints":["a"]})", "spec.taints[0]: must be an object"},
      {"Node", R"("status":{"addresses":[{"type":7}]})", "status.addresses[0].type: must be a string"},
  };
  Decoder decoder;
  for (const Row& row : rows) {
    SCOPED_TRACE(row.members);
    const auto result = decoder.decode(
        fmt::format(R"({{"kind":"{}","metadata":{{"name":"w","namespace":"s"}},{}}})", row.kind, row.members), "");
    ASSERT_TRUE(result) << result.error().what;
    ASSERT_EQ(result->problems.size(), 1U);
    EXPECT_EQ(result->problems[0].path + ": " + result->problems[0].text, row.problem);
    EXPECT_TRUE(std::holds_alternative<std::monostate>(result->object));
    EXPECT_EQ(result->metadata.key.to_string(), "s/w") << "the log must name the object";
  }
}

TEST(DecodeService, AnIngressOfAnUnknownModeCostsOnlyItself) {
  const auto json = R"({"kind":"Service","metadata":{"name":"w","namespace":"s"},"spec":{"clusterIP":"10.96.0.1"},
    "status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.1","ipMode":"Odd"},{"ip":"203.0.113.2","ipMode":null},
      {"ip":"203.0.113.3","ipMode":"VIP"},{"hostname":"lb.example","ipMode":"Odd"}]}}})";
  EXPECT_EQ(complaints(json), "status.loadBalancer.ingress[0].ipMode: unknown value 'Odd', the address is ignored");
  const auto service = decoded<model::Service>(json);
  ASSERT_EQ(service.ingress.size(), 2U);
  EXPECT_EQ(service.ingress[0], (model::LoadBalancerIngress{*IpAddress::parse("203.0.113.2"), model::IpMode::kVip}));
  EXPECT_EQ(service.ingress[1], (model::LoadBalancerIngress{*IpAddress::parse("203.0.113.3"), model::IpMode::kVip}));
}

TEST(DecodeService, BlankExternalIpsAreNoAddressesButMakeTheListNotEmpty) {
  const auto json = R"({"kind":"Service","metadata":{"name":"w","namespace":"s"},
    "spec":{"clusterIP":"10.96.0.1","externalIPs":[""," "]}})";
  EXPECT_EQ(complaints(json), "");
  const auto service = decoded<model::Service>(json);
  EXPECT_TRUE(service.has_external_ips);
  EXPECT_TRUE(service.external_ips.empty());
}

// Faults that cost only themselves: the object is used, and what was left out is reported.
TEST(Decode, AnAddressThatDoesNotParseCostsOnlyItself) {
  const auto service = R"({"kind":"Service","metadata":{"name":"w","namespace":"s"},
    "spec":{"clusterIP":"10.96.0.1","externalIPs":["1.2.3","203.0.113.1"],"loadBalancerSourceRanges":["10.0.0.0/33","10.0.0.0/8"]},
    "status":{"loadBalancer":{"ingress":[{"ip":"lb"},{"ip":"203.0.113.9"}]}}})";
  EXPECT_EQ(complaints(service),
            "spec.externalIPs[0]: '1.2.3' is not an IP address, ignored; "
            "spec.loadBalancerSourceRanges[0]: '10.0.0.0/33' is not a CIDR, ignored; "
            "status.loadBalancer.ingress[0].ip: 'lb' is not an IP address, ignored");
  const auto kept = decoded<model::Service>(service);
  EXPECT_EQ(text(kept.external_ips), "203.0.113.1");
  EXPECT_TRUE(kept.has_external_ips);
  EXPECT_EQ(kept.source_ranges.size(), 1U);
  ASSERT_EQ(kept.ingress.size(), 1U);
  EXPECT_EQ(kept.ingress[0].ip.to_string(), "203.0.113.9");
  EXPECT_EQ(kept.ingress[0].ip_mode, model::IpMode::kVip);

  const auto slice = R"({"kind":"EndpointSlice","metadata":{"name":"x","namespace":"s"},"addressType":"IPv4",
    "endpoints":[{"addresses":["pod"]},{"addresses":["fd00::1"]},{"addresses":[]},{},{"addresses":["10.0.0.1"]}]})";
  EXPECT_EQ(complaints(slice),
            "endpoints[0].addresses[0]: 'pod' is not an IP address, ignored; "
            "endpoints[1].addresses[0]: 'fd00::1' is not of the slice's address type, ignored; "
            "endpoints[2]: has no address, ignored; endpoints[3]: has no address, ignored");
  EXPECT_EQ(decoded<model::EndpointSlice>(slice).endpoints.size(), 1U);

  const auto node = R"({"kind":"Node","metadata":{"name":"a"},"spec":{"podCIDRs":["x","10.244.1.0/24"]},
    "status":{"addresses":[{"type":"InternalIP","address":"y"},{"type":"InternalIP","address":"192.0.2.1"}]}})";
  EXPECT_EQ(
      complaints(node),
      "spec.podCIDRs[0]: 'x' is not a CIDR, ignored; status.addresses[0].address: 'y' is not an IP address, ignored");
  EXPECT_EQ(text(decoded<model::Node>(node).internal_ips), "192.0.2.1");
}

TEST(Decode, AnObjectsKindIsItsOwnOrItsLists) {
  Decoder decoder;
  const auto kind = [&](const char* json, const char* hint) {
    const auto result = decoder.decode(json, hint);
    return result ? result->metadata.kind + fmt::format(" {}", result->object.index()) : result.error().what;
  };
  EXPECT_EQ(kind(R"({"metadata":{"name":"a"}})", "Node"), "Node 3");
  EXPECT_EQ(kind(R"({"kind":"Node","metadata":{"name":"a"}})", "Service"), "Node 3");
  EXPECT_EQ(kind(R"({"kind":"ConfigMap","metadata":{"name":"a"}})", ""), "ConfigMap 0");
  EXPECT_EQ(complaints(R"({"kind":"Node","metadata":{}})"), "metadata.name: is required");
  EXPECT_EQ(complaints(R"({"kind":"Node"})"), "metadata.name: is required");
  EXPECT_EQ(complaints(R"({"kind":"Node","metadata":{"name":"a","labels":{"x":1}}})"),
            "metadata.labels.x: must be a string");
  EXPECT_THAT(complaints("{\"kind\":\"Node\",\"metadata\":{\"name\":\"\xff\"}}"), testing::HasSubstr("not UTF-8"));
}

TEST(Decode, AFaultNamesItsFieldAndIgnoredPartsAreNoted) {
  const auto with = [](const char* spec) {
    return fmt::format(R"({{"kind":"Service","metadata":{{"name":"w","namespace":"s"}},"spec":{}}})", spec);
  };
  EXPECT_EQ(complaints(with(R"({"clusterIP":"10.96.0.1","ports":[{"port":80},{"port":70000}]})")),
            "spec.ports[1].port: 70000 is not between 1 and 65535");
  EXPECT_EQ(complaints(with(R"({"clusterIP":"10.96.0.1","ports":{}})")), "spec.ports: must be a list");
  EXPECT_THAT(complaints(with(R"({"clusterIP":"10.96.0.1","ports":[{"port":80,"protocol":"ICMP"}]})")),
              testing::StartsWith("spec.ports[0].protocol: "));
  EXPECT_THAT(complaints(with(R"({"clusterIP":"10.96.0.1","ports":[{"port":80}],"externalIPs":["nowhere"]})")),
              testing::StartsWith("spec.externalIPs[0]: "));
  EXPECT_EQ(complaints(with(R"({"clusterIP":"10.96.0.1","ports":[{"port":80}],"loadBalancerSourceRanges":["x"]})")),
            "spec.loadBalancerSourceRanges[0]: 'x' is not a CIDR, ignored");
  EXPECT_EQ(
      complaints(
          R"({"kind":"Service","metadata":{"name":"w","namespace":"s","annotations":{"sluice.dev/weight":"heavy"}},"spec":{"clusterIP":"None"}})"),
      "metadata.annotations[sluice.dev/weight]: 'heavy' is not a weight (0 to 65535), ignored");
  EXPECT_EQ(
      complaints(
          R"({"kind":"EndpointSlice","metadata":{"name":"w","namespace":"s","labels":{"kubernetes.io/service-name":"w"}},"addressType":"MAC"})"),
      "addressType: unknown address type 'MAC'");
  EXPECT_NE(complaints("[]"), "");
  EXPECT_NE(complaints("{"), "");
}

TEST(Decode, WatchEventsAndListsAreSplit) {
  Decoder decoder;
  const auto event = decoder.split_watch_event(R"({"type":"ADDED","object":{"kind":"Service","x":{"y":"}"}}})");
  ASSERT_TRUE(event) << event.error().what;
  EXPECT_EQ(event->type, "ADDED");
  EXPECT_EQ(event->object, R"({"kind":"Service","x":{"y":"}"}})");
  EXPECT_FALSE(decoder.split_watch_event(R"({"object":{}})"));
  const auto list = decoder.decode_list_metadata(
      R"({"kind":"ServiceList","metadata":{"resourceVersion":"7","continue":"more"},"items":[]})");
  ASSERT_TRUE(list);
  EXPECT_EQ(list->resource_version + " " + list->continue_token, "7 more");
  const auto status = decoder.decode_list_metadata(R"({"kind":"Status","code":410,"message":"too old"})");
  ASSERT_TRUE(status);
  EXPECT_EQ(status->status_code, 410);
  EXPECT_EQ(status->status_message, "too old");
}

}  // namespace
}  // namespace sluice::kube
