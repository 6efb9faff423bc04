// SPDX-License-Identifier: Apache-2.0
// For tests: the promises of dataplane.h, each as a test that runs on any data plane. A test program of a plane
// compiles contract_suite.cc in and has INSTANTIATE_TEST_SUITE_P(Name, PlaneContract,
// testing::Values(PlaneUnderTest{...}), plane_name).
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "model/object.h"

namespace sluice::dataplane {

// A separate machine for one test, with its own addresses and without any object of ours. It outlives the planes
// that are opened on it, like a kernel.
class PlaneRig {
 public:
  virtual ~PlaneRig() = default;
  // One more plane, of IPv4.
  virtual std::unique_ptr<DataPlane> open() = 0;
  // Everything that is in the kernel, ours or not, in any form that is equal if the kernel's state is.
  virtual std::vector<std::string> everything() = 0;
  // Where a new TCP connection to that address may go by what is in the kernel: "10.1.0.1:8080".
  virtual std::set<std::string> reached_by(const IpAddress& address, std::uint16_t port) = 0;

  // Objects of others, as similar to ours as possible, and whether they are unchanged.
  virtual void add_foreign_objects() = 0;
  virtual bool foreign_objects_stand() = 0;
  // Others change what is theirs, after which a plane that looks closer then does so.
  virtual void others_act() {}
  // Removes something that each new connection through us needs.
  virtual void damage() = 0;
  // Gives the node an address that it did not have. False if this makes no difference to a plane of this mode.
  virtual bool change_node() = 0;

  // Makes the kernel refuse this Service, or changes the Service so that it does; and the other way round.
  virtual void refuse(model::Service& service) = 0;
  virtual void let_in(model::Service& service) = 0;

  // Makes the kernel keep something of this Service that a plane removes, until let_go(). False where a kernel of this
  // mode lets go of everything.
  virtual bool hold(const model::Service&) { return false; }
  virtual void let_go() {}

  // Whether the plane has every gap of its mode. False for one on a back end that has fewer.
  virtual bool has_every_gap() { return true; }

  // From now on the kernel takes so many further changes of this process, then it ends: nothing it writes has an effect,
  // and every call fails. kNever: it does not end.
  static constexpr std::size_t kNever = static_cast<std::size_t>(-1);
  virtual void end_process_after(std::size_t changes) = 0;
  // Lets the kernel forget connections, as time does.
  virtual void end_connections() {}
};

struct PlaneUnderTest {
  std::string name;
  // Runs the body where the rig's kernel is: on a thread in a network namespace, or at once.
  std::function<void(const std::function<void(PlaneRig&)>&)> on_rig;
};

class PlaneContract : public testing::TestWithParam<PlaneUnderTest> {
 protected:
  void on_rig(const std::function<void(PlaneRig&)>& body) { GetParam().on_rig(body); }
};

inline std::string plane_name(const testing::TestParamInfo<PlaneUnderTest>& info) {
  return info.param.name;
}

}  // namespace sluice::dataplane
