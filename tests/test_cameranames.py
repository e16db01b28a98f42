"""Names of files that a camera or a program gave, told from people's names."""

import pytest

from facedex.photos.cameranames import is_camera_name


@pytest.mark.parametrize(
    "stem",
    [
        "IMG_0001", "IMG-20240131-WA0007", "DSC01234", "DSC_0001", "_DSC0001", "DSCN0001", "DSCF0001", "P1010001",
        "PXL_20240131_101112345", "MVIMG_20240131_101112", "WhatsApp Image 2024-01-31 at 10.11.12 (1)",
        "Screenshot 2024-01-31 at 10.11.12 AM", "Screenshot_20240131-101112", "20240131_101112", "2024-01-31", "17",
        "image1", "photo (3)", "IMG_0001 copy 2", "3f2b8c1e-0b1d-4a59-9a3c-1f2e3d4c5b6a",
        "スクリーンショット 2024-01-31",
    ],
)  # fmt: skip
def test_a_cameras_names_are_known(stem):
    assert is_camera_name(stem)


@pytest.mark.parametrize(
    "stem",
    [
        "Ada",
        "Ada_0001",
        "Ada Lovelace 2",
        "C3PO",
        "p00",
        "P. Diddy",
        "Sam 1",
        "Image",
        "写真家",
        "c04208",
        "J. R. R. 1",
    ],
)
def test_names_of_people_are_no_cameras(stem):
    assert not is_camera_name(stem)
