//! Photos in two sizes, made of what the directory has.
//!
//! A photo is named after the SHA-256 of the directory's octets, so that its address never shows anything else: whoever has it keeps it.

use std::io::Cursor;

use bytes::Bytes;
use directory::PhotoDigest;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use node::http::HttpResponse;

use crate::entry::PhotoName;
use crate::http::problem;

/// Largest photo that is read, in octets: Active Directory's attributes hold 100 kB (thumbnailPhoto) and, elsewhere, whole camera
/// pictures.
pub const PHOTO_OCTETS_MAX: usize = 8 << 20;
/// Largest width and height that is decoded, in pixels.
const SIDE_PIXELS_MAX: u32 = 8192;
/// Memory that decoding may take, in octets: a picture of 24 megapixels in three colours, and as much to work with.
const DECODE_OCTETS_MAX: u64 = 160 << 20;
/// JPEG's quality, of 100: what shows no blocks on a face at these sizes.
const QUALITY: u8 = 85;

/// The size of a photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PhotoSize {
    /// 96 pixels a side: in a list, at two pixels for each of a screen's 48. Active Directory's thumbnailPhoto usually has it already.
    Small,
    /// 240 pixels a side: on a card, at two pixels for each of a screen's 120.
    Large,
}

/// A photo that somebody asked for and may see. Fetch its octets and give them to [`PhotoRequest::answer`], without a lock: decoding
/// takes milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhotoRequest {
    /// Which.
    pub photo: PhotoDigest,
    /// How large.
    pub size: PhotoSize,
}

/// Why there is no photo.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhotoError {
    /// More octets, pixels or memory than are spent on a photo.
    #[error("the photo is too large")]
    TooLarge,
    /// Neither JPEG nor PNG, or broken.
    #[error("the photo is no JPEG or PNG picture: {0}")]
    Malformed(String),
}

impl PhotoSize {
    /// Pixels a side, at most: a smaller photo is not blown up.
    pub fn pixels(self) -> u32 {
        match self {
            PhotoSize::Small => 96,
            PhotoSize::Large => 240,
        }
    }

    pub(crate) fn of_pixels(text: &str) -> Option<PhotoSize> {
        [PhotoSize::Small, PhotoSize::Large].into_iter().find(|size| size.pixels().to_string() == text)
    }
}

impl PhotoRequest {
    /// The answer, given what the directory has under this digest.
    pub fn answer(&self, octets: Option<&[u8]>) -> HttpResponse {
        let Some(octets) = octets else { return problem(404, "there is no such photo") };
        match resized(octets, self.size) {
            Ok(body) => self.headers(HttpResponse::new(200, "image/jpeg", body)),
            // The directory's fault, and no other size is better.
            Err(error) => problem(422, &error.to_string()),
        }
    }

    pub(crate) fn etag(&self) -> String {
        format!("\"{}-{}\"", PhotoName::of(&self.photo), self.size.pixels())
    }

    /// Without asking again for a year; `private`: only who signed in may see it.
    pub(crate) fn headers(&self, response: HttpResponse) -> HttpResponse {
        response
            .with("etag", self.etag())
            .with("cache-control", "private, max-age=31536000, immutable")
            .with("x-content-type-options", "nosniff")
    }
}

/// The middle square of a photo as JPEG: upright, in the size or as large as it is, without anything that the camera noted.
pub fn resized(octets: &[u8], size: PhotoSize) -> Result<Bytes, PhotoError> {
    if octets.len() > PHOTO_OCTETS_MAX {
        return Err(PhotoError::TooLarge);
    }
    let malformed = |error: image::ImageError| match error {
        image::ImageError::Limits(_) => PhotoError::TooLarge,
        error => PhotoError::Malformed(error.to_string()),
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_PIXELS_MAX);
    limits.max_image_height = Some(SIDE_PIXELS_MAX);
    limits.max_alloc = Some(DECODE_OCTETS_MAX);
    let mut reader = ImageReader::new(Cursor::new(octets))
        .with_guessed_format()
        .map_err(|error| PhotoError::Malformed(error.to_string()))?;
    if !matches!(reader.format(), Some(ImageFormat::Jpeg | ImageFormat::Png)) {
        return Err(PhotoError::Malformed("another format".to_owned()));
    }
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(malformed)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    if decoder.total_bytes() > DECODE_OCTETS_MAX {
        return Err(PhotoError::TooLarge);
    }
    let mut photo = DynamicImage::from_decoder(decoder).map_err(malformed)?;
    photo.apply_orientation(orientation);

    let (width, height) = (photo.width(), photo.height());
    let side = width.min(height);
    let square = photo.crop_imm((width - side) / 2, (height - side) / 2, side, side);
    let pixels = size.pixels().min(side);
    let small = if pixels == side {
        square.to_rgb8()
    } else {
        // Transparent parts become black: photos have none.
        square.resize_exact(pixels, pixels, FilterType::CatmullRom).to_rgb8()
    };
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&small).map_err(malformed)?;
    Ok(jpeg.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let picture = image::RgbImage::from_fn(width, height, |x, y| {
            // A red square in the middle of blue.
            let side = width.min(height);
            let is_middle = |at: u32, all: u32| (all - side) / 2 <= at && at < (all + side) / 2;
            image::Rgb(if is_middle(x, width) && is_middle(y, height) { [200, 0, 0] } else { [0, 0, 200] })
        });
        let mut octets = Vec::new();
        picture.write_to(&mut Cursor::new(&mut octets), format).expect("memory takes all");
        octets
    }

    #[test]
    fn the_middle_square_is_shown_and_nothing_is_blown_up() {
        for (width, height, format, size, expected) in [
            (640, 480, ImageFormat::Jpeg, PhotoSize::Small, 96),
            (640, 480, ImageFormat::Jpeg, PhotoSize::Large, 240),
            (480, 640, ImageFormat::Png, PhotoSize::Large, 240),
            (96, 96, ImageFormat::Jpeg, PhotoSize::Small, 96),
            (50, 70, ImageFormat::Png, PhotoSize::Large, 50),
            (1, 1, ImageFormat::Png, PhotoSize::Small, 1),
        ] {
            let made = resized(&picture(width, height, format), size).expect("it is a picture");
            let made =
                image::load_from_memory_with_format(&made, ImageFormat::Jpeg).expect("a picture again");
            assert_eq!((made.width(), made.height()), (expected, expected), "{width}x{height}");
            let corner = made.to_rgb8().get_pixel(0, 0).0;
            assert!(corner[0] > 100 && corner[2] < 100, "the middle is red, the corner was {corner:?}");
        }
    }

    #[test]
    fn what_is_no_photo_harms_nobody() {
        let told = |octets: &[u8]| resized(octets, PhotoSize::Small).expect_err("it is none");
        assert!(matches!(told(b""), PhotoError::Malformed(_)));
        assert!(matches!(told(b"GIF89a......"), PhotoError::Malformed(_)));
        let whole = picture(64, 64, ImageFormat::Png);
        assert!(matches!(told(&whole[..whole.len() / 2]), PhotoError::Malformed(_)));
        assert_eq!(told(&vec![0; PHOTO_OCTETS_MAX + 1]), PhotoError::TooLarge);
        // A bomb: the header speaks of 60,000 pixels a side.
        let mut bomb = whole;
        bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        // The checksum of the header no longer fits, so that either is right.
        assert!(matches!(told(&bomb), PhotoError::TooLarge | PhotoError::Malformed(_)));
    }

    #[test]
    fn a_photo_is_kept_for_good() {
        let request = PhotoRequest { photo: PhotoDigest([7; 32]), size: PhotoSize::Large };
        let response = request.answer(Some(&picture(10, 10, ImageFormat::Png)));
        assert_eq!(response.status, 200);
        assert!(response.headers.contains(&("cache-control", "private, max-age=31536000, immutable".into())));
        assert_eq!(request.answer(None).status, 404);
        assert_eq!(request.answer(Some(b"x")).status, 422);
    }
}
