// SPDX-License-Identifier: Apache-2.0
// The device is of type dummy and never set up: operators know it as `<BROADCAST,NOARP>` in state DOWN. An address on
// it is local nevertheless (the kernel's local routes do not depend on the link's state), and being down it neither
// serves neighbours nor gets link-local addresses. Addresses are host addresses, since a wider prefix would attract a
// whole network to the device.
#include "dataplane/ipvs/service_device.h"

#include "dataplane/ipvs/wanted.h"
#include "sys/address_batch.h"
#include "sys/links.h"

namespace sluice::dataplane::ipvs {
namespace {

class LinkDevice : public ServiceDevice {
 public:
  Result<bool> exists() override { return sys::link_exists(kServiceDevice); }

  Result<> ensure() override {
    SLUICE_TRY(const bool there, exists());
    if (there) return {};
    Result<> added = sys::add_dummy(kServiceDevice);
    // The other family's data plane may have been quicker.
    if (added || added.error().code == Errc::kAlreadyExists) return {};
    Error error = added.error();
    if (error.code == Errc::kUnsupported) error.what += " (kernel module dummy is missing or may not be loaded)";
    return tl::unexpected(std::move(error));
  }

  Result<std::vector<sys::AddressFailure>> add(std::span<const IpAddress> addresses) override {
    SLUICE_TRY(auto failures, sys::add_host_addresses(kServiceDevice, addresses));
    return without(std::move(failures), Errc::kAlreadyExists);
  }

  Result<std::vector<sys::AddressFailure>> remove(std::span<const IpAddress> addresses) override {
    SLUICE_TRY(auto failures, sys::remove_host_addresses(kServiceDevice, addresses));
    return without(std::move(failures), Errc::kNotFound);
  }

 private:
  static std::vector<sys::AddressFailure> without(std::vector<sys::AddressFailure> failures, Errc harmless) {
    std::erase_if(failures, [&](const sys::AddressFailure& failure) { return failure.error.code == harmless; });
    return failures;
  }
};

}  // namespace

std::unique_ptr<ServiceDevice> open_service_device() {
  return std::make_unique<LinkDevice>();
}

}  // namespace sluice::dataplane::ipvs
